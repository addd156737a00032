// What templates are refused for: constructs that are not supported, and what costs too much.
#include <map>

#include "base/strings.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/test_chat_input.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

const std::vector<ChatMessage> kMessages = {{"user", "hi"}};

ChatInput input_of(const std::vector<ChatMessage>& messages = kMessages) {
  ChatInput input;
  input.messages = chat_messages(messages);
  input.now = golden_time();
  return input;
}

// The text of a source, or its error.
std::string run(std::string_view source, const ChatTemplateLimits& limits = {},
                const ChatInput& input = input_of()) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) {
    EXPECT_EQ(parsed.status().kind(), ErrorKind::kModel);
    return parsed.status().message();
  }
  const auto pieces = (*parsed)->render(input, limits);
  if (!pieces.ok()) {
    const std::string& message = pieces.status().message();
    const bool is_unsupported = message.ends_with(" is not supported");
    EXPECT_EQ(pieces.status().kind(), is_unsupported ? ErrorKind::kModel : ErrorKind::kRuntime)
        << message;
    return message;
  }
  std::string text;
  for (const PromptPiece& piece : *pieces) text += piece.text;
  return text;
}

void expect_error(std::string_view source, std::string_view part) {
  const std::string result = run(source);
  EXPECT_TRUE(result.starts_with("chat template, line ")) << source << " gave " << result;
  EXPECT_NE(result.find(part), std::string::npos) << source << " gave " << result;
  EXPECT_EQ(result.find("chat template", 1), std::string::npos) << result;
}

std::string repeat(std::string_view text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

TEST(JinjaRefusals, TheParserNamesWhatIsNotSupportedWithItsLine) {
  const auto refused = [](std::string_view source, std::string_view part) {
    const auto parsed = ChatTemplate::parse(source);
    ASSERT_FALSE(parsed.ok()) << source;
    EXPECT_EQ(parsed.status().kind(), ErrorKind::kModel);
    EXPECT_NE(parsed.status().message().find(part), std::string::npos)
        << source << " gave " << parsed.status().message();
  };
  refused("\n\n{% include 'x' %}", "line 3: the statement \"include\" is not");
  refused("{% extends 'x' %}", "\"extends\"");
  refused("{% block a %}{% endblock %}", "\"block\"");
  refused("{% from 'x' import y %}", "\"from\"");
  refused("{% import 'x' as y %}", "\"import\"");
  refused("{% do x %}", "\"do\"");
  refused("{% for a in x recursive %}{% endfor %}", "recursive");
  refused("{{ f(*x) }}", "unpacking");
  refused("{{ 1 | nosuchfilter }}",
          "the filter \"nosuchfilter\" is not supported (supported: abs,");
  refused("{{ 1 | pprint }}", "the filter \"pprint\"");
  refused("{{ 1 is nosuchtest }}", "the test \"nosuchtest\" is not supported (supported: boolean,");
  refused("{{ [1][1, 2] }}", "a tuple as index");
  refused("{{ '\\N{DEGREE SIGN}' }}", "\\N");
  refused("{{ '\\ud83d' }}", "d83d");
  refused("{% set loop = 1 %}", "loop cannot be assigned");
  refused("{% break %}", "outside of a loop");
  refused("{% for i in x %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}",
          "outside of a loop");
  refused("{% endraw %}", "\"endraw\"");
  refused("{% raw %}", "{% raw %} is not closed");
  refused("{{ f(a=1, a=2) }}", "given twice");
  refused("{{ f(a=1, 2) }}", "by position behind");
  refused("{% macro m(a, a) %}{% endmacro %}", "two parameters");
}

// Found only when the template runs, but the model's fault as much as what the parser refuses.
TEST(JinjaRefusals, OperationsThatAreNotSupportedAreTheModelsFault) {
  for (const auto& [source, what] : std::map<std::string, std::string>{
           {"{{ 'a' - 3 }}", "- of string and int"},
           {"{{ {} < {} }}", "< of dict and dict"},
           {"{{ 1 in 2 }}", "\"in\" of int"},
           {"{{ 1 in 'a' }}", "\"in\" of a string with int"},
           {"{{ -'a' }}", "- of string"},
           {"{{ 1[1:] }}", "a slice of int"},
           {"{{ 'ab'['a':] }}", "a slice bounded by string"},
           {"{{ 1 | length }}", "the length of int"},
           {"{{ 'a'.encode() }}", "the method \"encode\" of a string"},
           {"{{ raise_exception() }}", "raise_exception without the argument \"message\""},
           {"{{ 'a' | trim('a', 'b') }}", "trim with more than 1 arguments"},
           {"{{ 'a' | trim(x=1) }}", "trim with the argument \"x\""},
           {"{% for a in 1 %}{% endfor %}", "for over a int"},
           {"{{ cycler(1) }}", "the function \"cycler\""},
           {"{{ range }}", "printing a function"},
           {"{{ [1] | map('string') }}", "printing a iterator"},
           {"{{ 1() }}", "a call of a int"},
           {"{{ {[]: 1} }}", "list as a key"},
           {"{% if true %}{{ 1 | nosuchfilter }}{% endif %}", "the filter \"nosuchfilter\""}}) {
    EXPECT_EQ(run(source), "chat template, line 1: " + what + " is not supported") << source;
  }
  for (const char* source : {"{{ raise_exception('x') }}", "{{ x + 1 }}", "{{ 1 // 0 }}",
                             "{{ raise_exception('this role is not supported by it') }}"}) {
    EXPECT_EQ(run(source).find("is not supported", run(source).size() - 16), std::string::npos);
  }
}

TEST(JinjaRefusals, RaiseExceptionIsTheTemplatesOwnWord) {
  expect_error("\n{{ raise_exception('Only ' ~ 2 ~ ' roles') }}", "line 2: Only 2 roles");
}

TEST(JinjaLimits, StepsAreCounted) {
  std::string nested = "{% set x = [1,1,1,1,1,1,1,1,1,1] %}";
  nested += repeat("{% for a in x %}", 8) + "y" + repeat("{% endfor %}", 8);
  expect_error(nested, "more than 1000000 steps");
  expect_error("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
               "more than 1000000 steps");
  expect_error("{{ range(10 ** 9) | length }}", "a range of more than 100000");
  expect_error("{% set s = [1] %}" + repeat("{% set s = s + s %}", 60), "more than 1000000 steps");
  expect_error("{% set s = [1] * 1000 %}{{ (s * 100000) | length }}", "more than 1000000 steps");
  expect_error("{{ ('a ' * 2000000).split() | length }}", "more than 1000000 steps");
  expect_error("{{ ('a' * 2000000) | list | length }}", "more than 1000000 steps");
  // A dictionary is searched from its beginning.
  expect_error(
      "{% set d = dict(range(20000) | batch(2)) %}{% for i in range(20000) %}{{ d[i] }}{% endfor "
      "%}",
      "more than 1000000 steps");
  expect_error(
      "{% set l = range(40000) | batch(1) | list %}{{ l | unique(attribute=0) | list | sort "
      "| length }}{% for i in l %}{{ i in l }}{% endfor %}",
      "more than 1000000 steps");
}

TEST(JinjaLimits, TextsAreCountedWhetherPrintedOrNot) {
  ChatTemplateLimits limits;
  limits.max_output_bytes = 1 << 20;
  const std::string doubling =
      "{% set s = messages[0].content %}" + repeat("{% set s = s + s %}", 60);
  EXPECT_NE(run(doubling, limits).find("bytes in all"), std::string::npos);
  for (const char* source :
       {"{{ ('a' * 10 ** 12) | length }}", "{{ 'a' | center(10 ** 12) | length }}",
        "{{ 'a'.ljust(10 ** 12) | length }}", "{{ 'a'.zfill(10 ** 12) | length }}",
        "{{ 'a\\nb' | indent(10 ** 12) | length }}", "{{ ('%999999999999d' % 1) | length }}",
        "{% set s = 'a' * 1000000 %}{{ s | replace('a', s) | length }}",
        "{% set s = 'a' * 1000000 %}{{ s.join(s) | length }}",
        "{% set s = 'a' * 100000 %}{{ ([s] * 1000) | join(s) | length }}",
        "{% set s = ['a' * 1000] * 1000 %}{% set t = [s] * 1000 %}{{ t | tojson | length }}",
        "{% set s = ['a' * 1000] * 1000 %}{% set t = [s] * 1000 %}{{ t | string | length }}",
        "{{ {'a': 1} | tojson(indent=10 ** 12) | length }}",
        "{% set s %}{% for i in range(100000) %}{{ messages[0].content * 1000 }}{% endfor %}{% "
        "endset %}"}) {
    const std::string result = run(source, limits);
    EXPECT_TRUE(result.find("bytes in all") != std::string::npos ||
                result.find("steps") != std::string::npos)
        << source << " gave " << result.substr(0, 200);
  }
}

TEST(JinjaLimits, OutputIsBounded) {
  ChatTemplateLimits limits;
  limits.max_output_bytes = 10;
  EXPECT_EQ(run("0123456789", limits), "0123456789");
  EXPECT_NE(run("0123456789a", limits).find("10 bytes of output"), std::string::npos);
  EXPECT_NE(run("{% for i in range(11) %}x{% endfor %}", limits).find("10 bytes of output"),
            std::string::npos);
}

TEST(JinjaLimits, RecursionEnds) {
  expect_error("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
               "nested more than 64 levels");
  expect_error(
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
      "nested more than 64 levels");
  expect_error("{% macro m() %}" + repeat("{% if true %}", 40) + "{{ m() }}" +
                   repeat("{% endif %}", 40) + "{% endmacro %}{{ m() }}",
               "nested more than 512 levels");
  EXPECT_EQ(
      run("{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(9) }}"),
      "9876543210");
  ChatTemplateLimits limits;
  limits.max_depth = 1;
  EXPECT_NE(
      run("{{ ((((((1 + 1) * 2 ~ 'a') | trim) | trim) | trim) | trim) | trim | trim }}", limits)
          .find("8 levels"),
      std::string::npos);
  // A namespace may hold itself.
  expect_error("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}",
               "nested more than 128 levels");
  EXPECT_EQ(run("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns.a.a.a == ns }}"), "True");
  expect_error("{% set x = [] %}" + repeat("{% set x = [x] %}", 10'000),
               "lists nested more than 64 levels");
  expect_error("{% set x = {} %}" + repeat("{% set x = {'a': x} %}", 10'000),
               "lists nested more than 64 levels");
}

TEST(JinjaLimits, DeepSourcesAreRefusedAndLongOnesAreNot) {
  for (const auto& [open, close] : std::map<std::string, std::string>{{"(", ")"},
                                                                      {"[", "]"},
                                                                      {"{1: ", "}"},
                                                                      {"not ", ""},
                                                                      {"-", ""},
                                                                      {"x[", "]"},
                                                                      {"f(", ")"},
                                                                      {"1 if 1 else ", ""}}) {
    expect_error("{{ " + repeat(open, 50'000) + "1" + repeat(close, 50'000) + " }}",
                 "nested more than 64 levels");
  }
  for (const std::string_view tail : {".a", "[0]", "|trim", " if 1 else 1", "()"}) {
    expect_error("{{ x" + repeat(tail, 50'000) + " }}", "nested more than 64 levels");
  }
  expect_error("{{ x is defined is defined }}", "a chain of tests");
  for (const std::string_view open : {"{% if 1 %}", "{% for a in b %}", "{% macro m() %}",
                                      "{% set a %}", "{% filter trim %}", "{% generation %}"}) {
    expect_error(repeat(open, 20'000), "nested more than 64 levels");
  }
  // Chains are not nesting.
  EXPECT_EQ(run("{{ 0" + repeat(" + 1", 10'000) + " }}"), "10000");
  EXPECT_EQ(run("{{ 'a'" + repeat(" ~ 'a'", 1000) + " }}").size(), 1001U);
  EXPECT_EQ(run("{{ 1" + repeat(" and 1", 10'000) + " }}"), "1");
  EXPECT_EQ(run("{{ 1" + repeat(" == 1", 1000) + " }}"), "True");
  EXPECT_EQ(run("{% if 0 %}" + repeat("{% elif 0 %}", 10'000) + "{% else %}z{% endif %}"), "z");
  EXPECT_EQ(run(repeat("{% if x %}{% set y = 1 %}{% endif %}", 10'000) + "z"), "z");
}

TEST(JinjaLimits, SourcesMustBeShortUtf8) {
  EXPECT_NE(run("a\xFF").find("invalid UTF-8 at byte 1"), std::string::npos);
  EXPECT_NE(run(std::string((1 << 20) + 1, 'a')).find("at most 1048576"), std::string::npos);
}

TEST(JinjaLimits, InputMayNotBeNestedDeeply) {
  ChatInput input = input_of();
  Json deep = Json::array();
  for (int i = 0; i < 80; ++i) {
    Json outer = Json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  input.tools = std::move(deep);
  EXPECT_NE(run("x", {}, input).find("nested more than 64 levels"), std::string::npos);
}

TEST(JinjaLimits, IntegersDoNotOverflow) {
  expect_error("{{ 9223372036854775807 + 1 }}", "has no result of 64 bits");
  expect_error("{{ 9223372036854775807 * 2 }}", "has no result of 64 bits");
  expect_error("{{ 10 ** 19 }}", "has no result of 64 bits");
  expect_error("{{ 9223372036854775808 }}", "out of range");
  expect_error("{{ -(-9223372036854775807 - 1) }}", "has no result of 64 bits");
  expect_error("{{ (-9223372036854775807 - 1) // -1 }}", "has no result of 64 bits");
  expect_error("{{ '99999999999999999999' | int }}", "out of range");
  expect_error("{{ 1e300 | int }}", "out of range");
  EXPECT_EQ(run("{{ [1, 2, 3][9223372036854775807:] }}{{ 'abc'[::-9223372036854775807] }}"), "[]c");
  EXPECT_EQ(run("{{ range(9223372036854775806, 9223372036854775807) | list }}"),
            "[9223372036854775806]");
}

}  // namespace
}  // namespace lserve
