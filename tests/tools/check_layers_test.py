"""Every rule of tools/check_layers.py, violated once."""

from gate_tree import GateTest

import check_layers


class CheckLayersTest(GateTest):
    module = check_layers
    good = {
        "src/base/status.h": "#include <string>\n",
        "src/quant/kv_format.h": '#include "base/status.h"\n',
        "src/checkpoint/gguf.h": '#include "quant/kv_format.h"\n',
        "src/kernels/linear.h": '#include "quant/kv_format.h"\n',
        "src/kernels/host/rows.h": '#include "kernels/linear.h"\n',
        "src/kernels/cpu/gemm.h": '#include "kernels/host/rows.h"\n',
        "src/kernels/cpu/gemm.cc": '#include "kernels/cpu/gemm.h"\n',
        "src/kernels/reference/linear.h": '#include "kernels/linear.h"\n',
        "src/kernels/backend.cc": '#include "kernels/cpu/gemm.h"\n#include "kernels/reference/linear.h"\n',
        "src/kernels/cuda/launch.cu": "#include <cuda_runtime.h>\n",
        "src/kernels/cuda/ptx/ldmatrix.cuh": 'void f() { asm("nop"); }\n',
        "src/model/llama.h": '#include "kernels/linear.h"\n',
        "src/tokenizer/bpe.h": '#include "checkpoint/gguf.h"\n',
        "src/cli/main.cc": '#include "model/llama.h"\n// asm in a comment; "asm" in text\n',
    }

    def test_good_tree(self):
        self.assert_accepted()

    def test_upwards(self):
        self.assert_caught(
            {"src/base/status.h": '#include "model/llama.h"\n', "src/model/llama.h": ""},
            "base (floor 0) must not include model (floor 6)",
        )

    def test_same_floor(self):
        self.assert_caught({"src/tokenizer/bpe.h": '#include "model/llama.h"\n'}, "must not include")
        self.assert_caught({"src/model/llama.h": '#include "tokenizer/bpe.h"\n'}, "must not include")

    def test_same_floor_exception_is_one_way(self):
        self.assert_caught(
            {"src/quant/kv_format.h": '#include "checkpoint/gguf.h"\n', "src/checkpoint/gguf.h": ""},
            "quant (floor 2) must not include checkpoint",
        )

    def test_relative_include(self):
        self.assert_caught({"src/cli/main.cc": '#include "../model/llama.h"\n'}, "relative include")

    def test_no_full_path(self):
        self.assert_caught({"src/model/llama.cc": '#include "llama.h"\n'}, "no full path")

    def test_missing_header(self):
        self.assert_caught({"src/cli/main.cc": '#include "model/gone.h"\n'}, "does not exist")

    def test_private_implementation(self):
        for path in ("src/model/llama.cc", "src/kernels/linear.cc", "src/kernels/reference/a.cc"):
            self.assert_caught({path: '#include "kernels/cpu/gemm.h"\n'}, "kernels/cpu is private")

    def test_host_is_private_too(self):
        self.assert_caught(
            {"src/model/llama.cc": '#include "kernels/host/rows.h"\n'}, "kernels/host is private"
        )

    def test_unknown_folder(self):
        self.assert_caught({"src/misc/util.h": ""}, "has no floor")

    def test_cycle(self):
        self.assert_caught(
            {
                "src/base/a.h": '#include "base/b.h"\n',
                "src/base/b.h": '#include "base/a.h"\n',
            },
            "base/a.h -> base/b.h -> base/a.h",
        )

    def test_cuda_header(self):
        for header in ("cuda_runtime.h", "cublasLt.h", "cub/cub.cuh", "cuda/std/array"):
            self.assert_caught({"src/model/llama.cc": f"#include <{header}>\n"}, "CUDA header")

    def test_assembly(self):
        for code in ('asm("nop");', 'asm volatile("nop");', '__asm__("nop");'):
            self.assert_caught({"src/kernels/cuda/a.cu": f"void f() {{ {code} }}\n"}, "inline assembly")
