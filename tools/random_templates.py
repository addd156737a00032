"""Random chat templates from a grammar of everything the interpreter supports.

Left out is what jinja2 itself gets wrong: a negative constant to the power of a variable, which it
compiles without brackets. Expressions are made with a wanted type in mind, and now and then with
another, so that most templates render and some fail. Nothing here knows either renderer.

In the grammar <T> is a text, <I> an integer, <F> a float, <B> a condition, <L> a list, <D> a
dictionary, <A> any of them; a small letter asks for a leaf. <lit> is a quoted text, <?a|b> one of
several words, and the other names are methods of Generator.
"""

import json
import re

TEXTS = ["", "a", "Ab c", " pad ", "x,y,,z", "line\nbreak\n", "é😀ß", "ΑΣ", "12", " -7", "3.5e2",
         "<|im_end|>", "{{ x }}", "it's \"q\"", "tab\tend", "\u3000wide\u00a0", "İı", "a-b (c)",
         "%s is %d", "{} and {0}", "NaN", "0x1f", "hello world foo", "ǆabc", "\x1c\x85u",
         "back\\slash", "ﬁn"]
KEYS = ["role", "content", "a", "b", "k", "items", "name", "tool_calls", "0"]

LEAVES = {
    "T": ["<lit>", "<lit>", "<lit>", "s", "t", "d.k", "dd.k", "messages[0].content", "bos_token",
          "messages[-1]['role']", "eos_token", "loop.index ~ ''"],
    "I": ["<small>", "<small>", "n", "m", "loop.index0", "0x1F", "1_000", "-3",
          "(messages | length)", "(ls | length)"],
    "F": ["1.5", "f", "2e3", "0.1", "(n / 2)", "1e22"],
    "B": ["true", "False", "flag", "loop.first", "loop.last", "add_generation_prompt"],
    "L": ["l", "ls", "messages", "[]", "(1, 'b')", "tools", "dd.a.b", "range(3)", "d.items()",
          "range(5, n, -1)", "(1,)", "d.keys()"],
    "D": ["d", "dd", "messages[0]", "{}", "{'a': 1, 'b': none}", "(tools or messages)[0]"],
    "A": ["n", "m", "f", "s", "t", "l", "ls", "d", "dd", "flag", "nothing", "a", "b", "x",
          "messages", "tools", "item", "ns", "dd.a", "d.k"],
}

TESTS = "defined|undefined|none|string|mapping|iterable|sequence|boolean|number|integer|float|" \
        "true|false|callable|lower|upper|odd|even|escaped"

RULES = {
    "A": ["<D>.<attribute>", "<D>[<lit>]", "<D>['<key>']", "<L>[<i>]",
          "(<L> | <?first|last|max|min|sum>)", "(<A> | default(<a><?|, true|, boolean=true>))",
          "(<A> <?or|and> <A>)", "<D>.get('<key>'<?|, 1>)", "ns.<?a|b|x>", "<macro>",
          "loop.<?previtem|nextitem|length|revindex|revindex0|depth|depth0|nosuch>",
          "loop.cycle(<a>, <a>)", "loop.changed(<a>)"],
    "T": ["(<T> ~ <A>)", "(<T> + <T>)", "(<T> * <i>)", "<macro>", "<T>[<slice>]", "<T>[<i>]",
          "(<T> | <?trim|upper|lower|title|capitalize|string|safe|reverse|indent|e|forceescape>)",
          "(<T> | list | join)", "(<A> | <?string|tojson|tojson(indent=2)|trim|lower|escape>)",
          "(<A> | tojson(<?ensure_ascii=true|sort_keys=true|indent=0|indent=1, sort_keys=true>))",
          "(<A> | tojson(separators=(',', ':')))",
          "(<T> | replace(<T>, <T><?|, 1|, count=2>))",
          "(<T> | indent(<?2|width=3|2, true|2, blank=true|first=true|'* '>))",
          "(<L> | join(<?|d=><lit>))", "(<L> | join)", "(<L> | join(',', attribute='<key>'))",
          "(<T> | truncate(<small><?|, true|, false, '..'|, leeway=0>))",
          "(<T> | center(<small>))", "(<T> | trim(<lit>))", "(<lit> | format(<a>, <a>))",
          "('%<?s|d|5d|-5s|05d|.2f|x|r|+d|8.3f|%|03d|i>' % <number>)", "('%s|%5s' % (<A>, <T>))",
          "'<?{}-{}|{0}{1}{0}|{a}|{{}}|{}{>'.format(<a>, <a><?|, a=1>)",
          "<T>.<?strip|lstrip|rstrip|upper|lower|title|capitalize|swapcase>()",
          "<T>.<?strip|lstrip|rstrip|removeprefix|removesuffix>(<lit>)",
          "<T>.replace(<T>, <T><?|, 1|, -1|, 0>)", "<lit>.join(<L>)",
          "<T>.<?zfill|ljust|rjust|center>(<small>)", "<T>.split(<lit>)[<?0|-1>]",
          "<T>.split()[-1]", "strftime_now('<?%Y-%m-%d|%d %b %Y|%H:%M|%A>')"],
    "I": ["(<I> <?+|-|*|//|%> <I>)", "(<I> ** <?2|0|3>)", "(<L> | <?length|count>)",
          "(<T> | length)", "(<D> | length)", "<?-|+><I>", "(<I> | abs)", "(<L> | sum)",
          "(<number> | int(<?|7|base=16|0, 2|default=-1>))", "(<A> | int)",
          "<T>.<?find|rfind|count|index>(<lit>)", "<L>.<?count|index>(<a>)",
          "(<L> | sum(start=<i>))"],
    "F": ["(<F> <?+|-|*|//|%|/> <number>)", "(<F> ** <?2|0|3|-1|0.5>)", "(<I> / <I>)",
          "(<A> | float<?|(1.5)|(default=2)>)",
          "(<F> | round(<?|1|2|1, 'floor'|method='ceil'>))", "(<F> | abs)", "-<F>"],
    "B": ["(<A> is <?|not ><?" + TESTS + ">)", "(<I> is divisibleby <?1|2|3>)",
          "(<A> is <?|not ><?eq|equalto|ne|in|sameas|lt|ge|gt|le>(<A>))", "(<A> <?==|!=> <A>)",
          "(<T> <?<|<=|>|>=|==> <T>)", "(<number> <?<|<=|>|>=|==> <number>)",
          "((<L> | list) <?<|<=|>|>=|==> (<L> | list))", "(<I> < <I> <?<|<=|!=> <I>)",
          "(<T> <?in|not in> <T>)", "(<A> <?in|not in> <?(1, 'a')|[1]|ls|d|dd|messages>)",
          "(<A> in <L>)", "(not <A>)", "(<B> <?and|or> <B>)",
          "<T>.<?startswith|endswith>(<lit>)", "<T>.<?startswith|endswith>((<lit>, <lit>))",
          "<T>.<?isdigit|isalpha|isspace|isupper|islower|isalnum>()"],
    "L": ["[]", "[<A>]", "[<A>, <A>]", "[<A>, <A>, <A>]", "(<L> + <L>)", "(<L> * <?0|1|2>)",
          "<L>[<slice>]", "(<L> | <?list|sort|unique | list|reverse | list>)",
          "(<L> | sort(<?reverse=true|case_sensitive=true|attribute='role'|attribute='a,b'>))",
          "(<L> | unique(attribute='<path>') | list)",
          "(<L> | map(attribute='<path>'<?|, default=0|, default='q'>) | list)",
          "(<L> | map('<?upper|length|string|int|trim|tojson|first|abs|title>') | list)",
          "(<L> | map('replace', 'a', 'b') | list)", "(<L> | map('default', 5, true) | list)",
          "(<L> | <?select|reject>(<?|'defined'|'string'|'odd'|'equalto', 1|'in', [1, 2]>) | list)",
          "(<L> | <?select|reject>attr('<path>'<?|, 'equalto', 'user'|, 'defined'|, 'none'|, '==', "
          "1|, 'in', [1, 'user']>) | list)",
          "(<D> | <?dictsort|items | list|list|dictsort(true)|dictsort(by='value')>)",
          "(<D> | dictsort(reverse=true))", "<D>.<?items|keys|values>()",
          "(<L> | batch(<?1|2|3><?|, 0|, fill_with='-'>) | list)", "(<T> | list)", "range(<i>)",
          "<T>.<?split|rsplit>(<?|none, 1|maxsplit=1>)", "<T>.<?split|rsplit>(<lit><?|, 1>)",
          "<T>.splitlines(<?|true>)", "<T>.<?partition|rpartition>(<lit>)",
          "(<L> | <?map('upper')|reverse|select|unique|batch(2)>)"],
    "D": ["{}", "{<dict_key>: <A>}", "{<dict_key>: <A>, <dict_key>: <A>}", "dict(<d>, x=<A>)",
          "dict(a=<A>, b=<A>)"],
}


class Generator:
    def __init__(self, rng):
        self.rng = rng
        self.in_loop = False  # of the innermost function
        self.macros = []      # name, parameters

    def one(self, choices):
        return self.rng.choice(choices)

    def chance(self, probability):
        return self.rng.random() < probability

    # -- what the template is given

    def context(self):
        """A row without its source."""
        one = self.one
        row = {"bos_token": "<s>", "eos_token": one(["</s>", "</s>", "</s>", ""]),
               "messages": [self.message() for _ in range(one([0, 1, 1, 2, 3]))],
               "add_generation_prompt": self.chance(0.5)}
        if self.chance(0.4):
            parameters = {"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string", "enum": ["x", 1]}, "items": {"type": ["integer", "null"]}}}
            row["tools"] = [{"type": "function", "function": {
                "name": one(TEXTS), "description": one(TEXTS), "parameters": parameters}}]
        values = [1, "v", None, [1, 2], 2.5, True]
        row["variables"] = {
            "n": self.rng.randint(-3, 9), "m": one([0, 1, 7, 10**12]),
            "f": one([0.5, -2.25, 1e16, 3.0, 1e-7]), "s": one(TEXTS), "t": one(TEXTS),
            "l": [self.rng.randint(-5, 5) for _ in range(self.one([0, 1, 2, 3, 5]))],
            "ls": [one(TEXTS) for _ in range(self.rng.randint(0, 4))],
            "d": {one(KEYS): one(values) for _ in range(self.rng.randint(0, 4))},
            "dd": {"a": {"b": [1, {"k": "deep"}]}, "k": one(TEXTS), "items": [1]},
            "a": one([1, "A", [1, 2]]), "b": "B", "x": one([None, "X"]), "item": "it",
            "flag": self.chance(0.5), "nothing": None}
        return row

    def message(self):
        one = self.one
        message = {"role": one(["user", "assistant", "system", "tool"]), "content": one(TEXTS)}
        if self.chance(0.1):
            message["content"] = one([None, [{"type": "text", "text": one(TEXTS)}]])
        if self.chance(0.2):
            arguments = one([{"a": 1}, '{"a": 1}'])
            message["tool_calls"] = [{"id": "c1", "type": "function",
                                      "function": {"name": "f", "arguments": arguments}}]
        if self.chance(0.1):
            message[one(["reasoning_content", "thinking", "reasoning"])] = one(TEXTS)
        return message

    # -- expressions

    def expression(self, depth, kind=None):
        if kind is None or self.chance(0.01):
            kind = self.one("TTIFBLDA")
        if depth <= 0:
            return self.fill(self.rule_of(LEAVES[kind]), 0)
        if self.chance(0.08):
            otherwise = f" else <{kind}>" if self.chance(0.85) else ""
            return self.fill(f"(<{kind}> if <B>{otherwise})", depth - 1)
        return self.fill(self.rule_of(RULES[kind]), depth - 1)

    def rule_of(self, rules):
        """One of them; one of a loop's variable seldom where there is no loop."""
        while True:
            rule = self.one(rules)
            if not rule.startswith("loop.") or self.in_loop or self.chance(0.03):
                return rule

    def fill(self, rule, depth):
        """The rule with something in place of each <name>."""
        def replacement(match):
            name = match.group(1)
            if name.startswith("?"):
                return self.one(name[1:].split("|"))
            if len(name) == 1:
                return self.expression(depth if name.isupper() else 0, name.upper())
            return getattr(self, name)(depth)
        # Choices may have < and > themselves: <?<|<=|>|>=|==>.
        return re.sub(r"<(\?(?:[^<>]|[<>]=?(?=\|)|==?(?=>))*|[A-Za-z_]+)>", replacement, rule)

    def lit(self, depth):
        text, quote = self.one(TEXTS), self.one("'\"")
        out = quote
        for c in text:
            if c in (quote, "\\"):
                out += "\\" + c
            elif c == "\n":
                out += self.one(["\\n", "\\n", c])
            elif ord(c) > 127 and self.chance(0.2):
                out += f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
            else:
                out += c
        return out + quote

    def number(self, depth):
        return self.expression(depth, self.one("IIFFT"))

    def small(self, depth):
        return str(self.rng.randint(0, 12))

    def key(self, depth):
        return self.one(KEYS)

    def attribute(self, depth):
        return self.one(KEYS[:-1])

    def path(self, depth):
        return self.one(["role", "content", "a", "a.b", "0", "k", "items"])

    def dict_key(self, depth):
        return self.one([self.lit(0), "'a'", "'b'", "1", "true", "none", "1.5", "(1, 'x')"])

    def slice(self, depth):
        bounds = ["", "", "1", "-1", "2", "n", "-3", "100", "none", "0"]
        step = ":" + self.one(["", "2", "-1", "-2", "3"]) if self.chance(0.3) else ""
        return f"{self.one(bounds)}:{self.one(bounds)}{step}"

    def macro(self, depth):
        if not self.macros:
            return self.expression(0, "A")
        name, parameters = self.one(self.macros)
        arguments = [self.expression(depth) for _ in range(self.rng.randint(0, len(parameters)))]
        arguments += [f"{p}={self.expression(0)}" for p in parameters[len(arguments):]
                      if self.chance(0.4)]
        return f"{name}({', '.join(arguments)})"

    # -- statements

    def tag(self, inner):
        return "{%" + self.one(["", "", "", "-", "+"]) + f" {inner} " + \
            self.one(["", "", "", "-", "+"]) + "%}"

    def space(self):
        return self.one(["", " ", "\n", "  \n", "text", " a\n  ", "\n\n", "\t", "{ }", "é\n",
                         "x\r\n", "# ", "\u3000"])

    def body(self, depth):
        parts = [self.space() + self.statement(depth) for _ in range(self.rng.randint(1, 3))]
        return "".join(parts) + self.space()

    def function_body(self, depth):
        before, self.in_loop = self.in_loop, False
        inner = self.body(depth)
        self.in_loop = before
        return inner

    def statement(self, depth):
        kinds = ["output"] * 6 + ["set"] * 3 + ["comment", "raw", "set_member", "set_pair"]
        if depth > 0:
            kinds += ["if"] * 3 + ["for"] * 4
            kinds += ["set_block", "macro", "filter", "with", "call", "generation"]
        if self.in_loop:
            kinds += ["jump", "jump"]
        return getattr(self, "make_" + self.one(kinds))(depth - 1)

    def make_output(self, depth):
        if self.chance(0.05):
            return self.tag(self.fill("print <A>, <T>", 1))
        expression = self.expression(self.rng.randint(0, 4))
        if self.chance(0.03):
            expression += ", " + self.expression(1)
        return "{{" + self.one(["", "", "-"]) + f" {expression} " + self.one(["", "", "-"]) + "}}"

    def make_comment(self, depth):
        return self.one(["{# c #}", "{#- c -#}", "{#c\n#}", "{#+ {{ x }} +#}"])

    def make_raw(self, depth):
        begin = self.tag("raw").replace("+%}", "%}")
        return begin + self.space() + "{{ x }} {% if %}" + self.space() + self.tag("endraw")

    def make_set(self, depth):
        target = self.one(["a", "b", "x", "item"])
        return self.tag(f"set {target} = {self.expression(self.rng.randint(0, 3))}")

    def make_set_pair(self, depth):
        target = self.one(["a, b", "(a, x)", "a, ns.b", "b, a"])
        return self.tag(f"set {target} = " + self.fill(self.one(["<A>, <A>", "<L>"]), 1))

    def make_set_member(self, depth):
        if self.chance(0.5):
            fields = self.one(["", "a=1", "x=<A>", "d", "a=[], b=false"])
            return self.tag("set ns = namespace(" + self.fill(fields, 1) + ")")
        return self.tag(self.fill("set ns.<?a|b|x> = <A>", 2))

    def make_set_block(self, depth):
        filters = self.one(["", "", " | trim", " | upper | replace('A', 'b')", " | length"])
        return self.tag(f"set {self.one('abx')}{filters}") + self.body(depth) + self.tag("endset")

    def make_if(self, depth):
        out = self.tag(self.fill("if <B><?|||:>", 2)) + self.body(depth)
        while self.chance(0.3):
            out += self.tag(self.fill("elif <B>", 2)) + self.body(depth)
        if self.chance(0.5):
            out += self.tag("else") + self.body(depth)
        return out + self.tag("endif")

    def make_for(self, depth):
        head = self.one(["item in <L>", "m in messages", "c in <T>", "x in <D>", "item in range(4)",
                         "a, b in <?d.items()|d | items|d | dictsort|[(1, 2), (3, 4)]|ls>",
                         "item in <?l[1:]|missing|l | reverse>", "(a, (b, x)) in [(1, [2, 3])]"])
        head = self.fill(head + (" if <B>" if self.chance(0.25) else ""), 1)
        before, self.in_loop = self.in_loop, True
        inner = self.body(depth)
        self.in_loop = before
        out = self.tag("for " + head) + inner
        if self.chance(0.25):
            out += self.tag("else") + self.body(depth)
        return out + self.tag("endfor")

    def make_jump(self, depth):
        condition = self.tag(self.fill("if <B>", 1))
        return condition + self.tag(self.one(["break", "continue"])) + self.tag("endif")

    def make_macro(self, depth):
        parameters = self.rng.sample(["p", "q", "a", "item"], self.rng.randint(0, 3))
        signature = []
        for p in parameters:
            has_default = any("=" in other for other in signature) or self.chance(0.3)
            signature.append(f"{p}={self.expression(0)}" if has_default else p)
        inner = self.function_body(depth)
        if self.chance(0.3):
            special = ["caller()", "caller(1)", "varargs", "kwargs", "kwargs | tojson", "p", "q"]
            inner += "{{ " + self.one(special) + " }}"
        name = self.one(["mac", "mac2"])
        self.macros.append((name, parameters))
        return self.tag(f"macro {name}({', '.join(signature)})") + inner + self.tag("endmacro")

    def make_call(self, depth):
        if not self.macros:
            return self.make_macro(depth)
        name = self.one(self.macros)[0]
        head = self.fill(f"call<?||(p)> {name}(<?|1|a>)", 1)
        return self.tag(head) + self.function_body(depth) + self.tag("endcall")

    def make_filter(self, depth):
        filters = self.one(["upper", "trim", "indent(2)", "replace('a', 'b') | title", "length"])
        return self.tag("filter " + filters) + self.body(depth) + self.tag("endfilter")

    def make_with(self, depth):
        head = self.fill(self.one(["with", "with a = 1", "with a = <A>", "with a = 1, b = a"]), 2)
        return self.tag(head) + self.body(depth) + self.tag("endwith")

    def make_generation(self, depth):
        return self.tag("generation") + self.function_body(depth) + self.tag("endgeneration")

    def template(self):
        prologue = self.tag("set ns = namespace(a=1, b='', x=[])") if self.chance(0.9) else ""
        return prologue + self.body(self.rng.randint(0, 3))


def random_row(rng):
    generator = Generator(rng)
    row = {"source": generator.template(), **generator.context()}
    return json.loads(json.dumps(row))
