"""Every rule of tools/check_style.py, violated once; and the measure of functions."""

from gate_tree import GateTest

import check_style

BODY = "  x();\n" * 98


class CheckStyleTest(GateTest):
    module = check_style
    good = {
        "src/base/a.h": "// Role.\n#pragma once\n",
        "src/base/a.cc": "// std::regex and exit(1) are only named here.\n"
        'const char* text = "system(";\n' + f"void f() {{\n{BODY}}}\n",
        "src/cli/main.cc": "void f() { std::exit(1); }\n",
        "src/kernels/rope.h": "// Role.\n#pragma once\nstruct RopeParams {};\n",
        "src/kernels/reference/rope.cc": "",
        "tests/kernels/rope_test.cc": "",
        "bench/kernel_bench.cc": 'run("rope", 1);\n',
    }

    def test_good_tree(self):
        self.assert_accepted()

    def test_file_length(self):
        self.assert_accepted({"src/base/b.cc": "\n" * 600})
        self.assert_caught({"src/base/b.cc": "\n" * 601}, "601 lines")
        self.assert_caught({"tests/base/b_test.cc": "\n" * 601}, "601 lines")

    def test_median_file_length(self):
        long_files = {f"src/base/f{i}.cc": "\n" * 151 for i in range(9)}
        self.assert_caught(long_files, "median file length 151")

    def test_function_length(self):
        self.assert_caught({"src/base/b.cc": f"int f(int a) {{\n{BODY}\n}}\n"}, "function of 101")

    def test_long_head_counts(self):
        self.assert_caught({"src/base/b.cc": f"int f(int a,\n      int b) {{\n{BODY}}}\n"}, "of 101")

    def test_member_constructor_lambda_and_template(self):
        long_body = BODY + "  if (a) {\n  }\n"
        for head in (
            "struct S { void f() const noexcept",
            "struct S { S() : a_(1), b_{2}",
            "struct S { void operator=(int)",
            "struct S { template <class T> void f(std::vector<T> x)",
        ):
            self.assert_caught({"src/base/b.cc": f"{head} {{\n{long_body}}}\n}};\n"}, "function of")
        inner = f"void f() {{\n  auto g = [](int a) {{\n{BODY}  }};\n}}\n"
        self.assert_caught({"src/base/b.cc": inner}, "function of 102")

    def test_no_functions(self):
        for code in (
            f"namespace n {{\n{BODY}\n}}\n",
            f"class [[nodiscard]] C : public B {{\n{BODY}\n}};\n",
            f"constexpr auto kTable = std::to_array<int>({{\n{'  1,' * 20}\n{BODY}\n}});\n",
            'extern "C" {\n' + BODY + "\n}\n",
        ):
            self.assert_accepted({"src/base/b.cc": code})

    def test_braces_in_text_and_macros(self):
        self.assert_accepted(
            {"src/base/b.cc": "#define A \\\n  {{{\nchar c = '{'; auto s = \"}\"; auto r = R\"x(})x\";\n"}
        )
        self.assert_caught({"src/base/b.cc": "void f() { { }\n"}, "braces do not match")

    def test_columns(self):
        self.assert_accepted({"src/base/b.cc": "/" * 2 + "x" * 98 + "\n"})
        self.assert_caught({"src/base/b.cc": "/" * 2 + "x" * 99 + "\n"}, "101 columns")

    def test_commented_out_code(self):
        self.assert_caught({"src/base/b.cc": "// x = 1;\n"}, "ends like code")
        self.assert_caught({"src/base/b.cc": "  // if (x) {\n"}, "ends like code")

    def test_todo(self):
        self.assert_accepted({"src/base/b.cc": "// TODO(#12): more\n"})
        self.assert_caught({"src/base/b.cc": "// TODO: more\n"}, "TODO names its issue")

    def test_headers(self):
        self.assert_caught({"src/base/a.h": "// Role.\n"}, "#pragma once is missing")
        self.assert_caught({"src/base/a.h": "#pragma once\n"}, "says its role")

    def test_forbidden_names(self):
        for code in (
            "std::regex r;",
            "#include <regex>",
            "p = alloca(n);",
            "strtol(s, 0, 10);",
            "std::strtod(s, 0);",
            "atoi(s);",
            "std::stoi(s);",
            "system(s);",
            "std::system(s);",
            "exit(1);",
            "::_exit(1);",
        ):
            self.assert_caught({"src/base/b.cc": f"int x;\n{code}\n"}, "forbidden")
        self.assert_accepted({"src/base/b.cc": "object.exit(1); file_system(2); my_exit(3);\n"})

    def test_op_faces(self):
        self.assert_caught({"src/kernels/reference/rope.cc": None}, "kernels/reference/rope.cc")
        self.assert_accepted(
            {"src/kernels/reference/rope.cc": None, "src/kernels/host/rope.cc": ""}
        )
        self.assert_caught({"tests/kernels/rope_test.cc": None}, "tests/kernels/rope_test.cc")
        self.assert_caught({"bench/kernel_bench.cc": 'run("ropes", 1);\n'}, "named in bench")
        self.assert_accepted({"src/kernels/weight.h": "// Role.\n#pragma once\nstruct Weight {};\n"})
