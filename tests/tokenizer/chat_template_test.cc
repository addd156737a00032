#include "tokenizer/chat_template.h"

#include <map>

#include "base/random.h"
#include "base/strings.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

constexpr std::string_view kBos = "<|im_start|>", kEos = "<|im_end|>";

std::unique_ptr<ChatTemplate> parse(std::string_view source) {
  auto result = ChatTemplate::parse(source);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? std::move(result).value() : nullptr;
}

std::vector<ChatMessage> messages_of(const Json& list) {
  std::vector<ChatMessage> messages;
  for (const Json& message : list.as_array()) {
    messages.push_back({message.find("role")->as_string(), message.find("content")->as_string()});
  }
  return messages;
}

std::string join(const std::vector<PromptPiece>& pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) text += piece.text;
  return text;
}

// The text of a source, or its error.
std::string run(std::string_view source, const std::vector<ChatMessage>& messages = {},
                const ChatTemplateLimits& limits = {}) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) {
    EXPECT_EQ(parsed.status().kind(), ErrorKind::kModel);
    return parsed.status().message();
  }
  const auto pieces = (*parsed)->render(messages, true, kBos, kEos, limits);
  if (!pieces.ok()) {
    const std::string& message = pieces.status().message();
    const bool is_unsupported = message.ends_with(" is not supported");
    EXPECT_EQ(pieces.status().kind(), is_unsupported ? ErrorKind::kModel : ErrorKind::kRuntime)
        << message;
    return message;
  }
  return join(*pieces);
}

std::unique_ptr<ChatTemplate> load(const std::string& name) {
  return parse(read_file(data_path("chat/" + name), 1 << 20).value());
}

TEST(ChatTemplateGoldens, ConversationsRenderAsWithJinja2) {
  std::map<std::string, std::unique_ptr<ChatTemplate>> templates;
  size_t rendered = 0, with_ids = 0;
  for (const Json& row : read_json_lines("chat/conversations.jsonl")) {
    const std::string& name = row.find("template")->as_string();
    if (!templates.contains(name)) templates[name] = load(name);
    const auto messages = messages_of(*row.find("messages"));
    const auto pieces =
        templates[name]->render(messages, row.find("add_generation_prompt")->as_bool(), kBos, kEos);
    const Json* text = row.find("text");
    ASSERT_EQ(pieces.ok(), text != nullptr) << name << ": " << row.dump();
    if (!pieces.ok()) continue;
    ASSERT_EQ(join(*pieces), text->as_string()) << name;
    ++rendered;
    for (size_t i = 0; i < pieces->size(); ++i) {
      ASSERT_FALSE((*pieces)[i].text.empty());
      if (i == 0) continue;
      ASSERT_NE((*pieces)[i].from_message, (*pieces)[i - 1].from_message);
    }
    if (const Json* ids = row.find("ids")) {
      ASSERT_EQ(small_tokenizer().encode(*pieces), ids_of(*ids)) << quoted(text->as_string());
      ++with_ids;
    }
  }
  EXPECT_GE(rendered, size_t{150});
  EXPECT_GE(with_ids, size_t{40});
}

TEST(ChatTemplateGoldens, FragmentsRenderAsWithJinja2OrAreRefusedByName) {
  const std::vector<ChatMessage> messages = {
      {"system", "S s"}, {"user", "\xC3\x9C u"}, {"assistant", "A a"}};
  size_t refused = 0;
  for (const Json& row : read_json_lines("chat/fragments.jsonl")) {
    const std::string& source = row.find("source")->as_string();
    const Json* text = row.find("text");
    const std::string result = run(source, messages);
    if (text == nullptr) {
      EXPECT_TRUE(result.starts_with("chat template, line 1: ")) << source << ": " << result;
    } else if (result.find("not supported") != std::string::npos) {
      ++refused;
    } else {
      EXPECT_EQ(result, text->as_string()) << source;
    }
  }
  EXPECT_LE(refused, size_t{2});
}

TEST(ChatTemplateGoldens, SmolLm2sOwnTemplateIsTheCommittedOne) {
  if (smollm2_tokenizer() == nullptr) GTEST_SKIP() << "no " << smollm2_path();
  EXPECT_EQ(smollm2_tokenizer()->data().chat_template,
            read_file(data_path("chat/smollm2.jinja"), 1 << 20).value());
}

// Messages are marked by characters that no template has; so each byte's origin is known.
TEST(ChatTemplate, EveryByteOfAMessageIsMarkedAndNoOther) {
  constexpr uint64_t kSeed = 31;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  const std::string tricks =
      "{%- for m in messages %}{% set c = m.content %}<{{ c | trim }}|{{ c[1:] }}|{{ "
      "c[:-1].strip() "
      "~ c }}|{{ (c + '.' + c) | trim | string }}|{{ c or 'x' }}|{{ [c, '-'][0] }}|{{ m.role }}>"
      "{{ c | default('y', true) }}{{ 'z' if c == m['content'] }}{% endfor %}";
  std::vector<std::unique_ptr<ChatTemplate>> templates;
  for (const char* name : {"smollm2.jinja", "headers.jinja"}) templates.push_back(load(name));
  templates.push_back(parse(tricks));
  for (int round = 0; round < 300; ++round) {
    std::vector<ChatMessage> messages;
    for (int64_t i = random.integer(0, 4); i > 0; --i) {
      const auto marked = [&] {
        std::string text;
        for (int64_t j = random.integer(0, 6); j > 0; --j) {
          text += random.uniform() < 0.5 ? "\xE3\x80\x80" : "\xEE\x80\x81";  // a space, a letter
        }
        return text;
      };
      messages.push_back({marked(), marked()});
    }
    for (const auto& chat_template : templates) {
      const auto pieces = chat_template->render(messages, true, "<s>", "</s>");
      ASSERT_TRUE(pieces.ok()) << pieces.status().message();
      for (const PromptPiece& piece : *pieces) {
        for (const char c : piece.text) {
          ASSERT_EQ((static_cast<unsigned char>(c) & 0x80) != 0, piece.from_message) << piece.text;
        }
      }
    }
  }
}

TEST(ChatTemplate, CaseFiltersKeepTheOrigin) {
  const auto pieces = parse("a{{ messages[0].content | upper }}b")
                          ->render(std::vector<ChatMessage>{{"user", "x\xC3\xA9"}}, true, "", "");
  ASSERT_TRUE(pieces.ok());
  ASSERT_EQ(pieces->size(), 3U);
  EXPECT_EQ((*pieces)[1].text, "X\xC3\x89");
  EXPECT_TRUE((*pieces)[1].from_message);
}

void expect_error(std::string_view source, std::string_view part) {
  const std::string result = run(source, {{"user", "hi"}});
  EXPECT_TRUE(result.starts_with("chat template, line ")) << source << " gave " << result;
  EXPECT_NE(result.find(part), std::string::npos) << source << " gave " << result;
  EXPECT_EQ(result.find("chat template", 1), std::string::npos) << result;
}

TEST(ChatTemplate, WhatIsNotSupportedIsNamedWithItsLine) {
  expect_error("\n\n{% macro m() %}{% endmacro %}", "line 3: the statement \"macro\" is not");
  expect_error("{% raw %}x{% endraw %}", "\"raw\"");
  expect_error("{% generation %}", "\"generation\"");
  expect_error("{% break %}", "\"break\"");
  expect_error("{% include 'x' %}", "\"include\"");
  expect_error("{% set ns = namespace(a=1) %}", "\"namespace\"");
  expect_error("{% set ns.a = 1 %}", "assigning a member");
  expect_error("{% set a, b = 1 %}", "unpacking");
  expect_error("{% set a %}x{% endset %}", "as a block");
  expect_error("{% for a, b in x %}{% endfor %}", "unpacking");
  expect_error("{% for a in x if a %}{% endfor %}", "for with if");
  expect_error("{% for a in x recursive %}{% endfor %}", "recursive");
  expect_error("{% for i in range(3) %}{% endfor %}", "\"range\"");
  expect_error("{% for a in 'abc' %}{% endfor %}", "for over a string");
  expect_error("{{ {'a': 1} }}", "a dictionary");
  expect_error("{{ (1, 2) }}", "a tuple");
  expect_error("{{ 1.5 }}", "1.5");
  expect_error("{{ 2 ** 3 }}", "**");
  expect_error("{{ 1 / 2 }}", "operator /");
  expect_error("{{ [1][::2] }}", "a step");
  expect_error("{{ 1 < 2 < 3 }}", "a chain of comparisons");
  expect_error("{{ 1 | tojson }}", "the filter \"tojson\"");
  expect_error("{{ x | default('a', boolean=true) }}", "the named argument \"boolean\"");
  expect_error("{{ 'a'.split('b') }}", "the method \"split\"");
  expect_error("{{ 1 is divisibleby 3 }}", "the test \"divisibleby\"");
  expect_error("{% for m in messages %}{{ loop.cycle }}{% endfor %}", "loop.cycle");
  expect_error("{% for m in messages %}{{ loop['nextitem'] }}{% endfor %}", "loop.nextitem");
  expect_error("{{ messages }}", "printing a list");
  expect_error("{{ 'a'.b }}", "the member \"b\" of a string");
  expect_error("{{ '\\N{DEGREE SIGN}' }}", "\\N");
  expect_error("{{ '\\ud83d' }}", "d83d");
}

// Found only when the template runs, but the model's fault as much as what the parser refuses.
TEST(ChatTemplate, OperationsThatAreNotSupportedAreTheModelsFault) {
  const std::vector<ChatMessage> messages = {{"user", "hi"}};
  for (const auto& [source, what] : std::map<std::string, std::string>{
           {"{{ 'a' * 3 }}", "* of string and int"},
           {"{{ [1] < [2] }}", "< of list and list"},
           {"{{ 1 in 2 }}", "\"in\" of int"},
           {"{{ 1 in 'a' }}", "\"in\" of a string with int"},
           {"{{ -'a' }}", "- of string"},
           {"{{ 1[1:] }}", "a slice of int"},
           {"{{ 'ab'['a':] }}", "a slice bounded by string"},
           {"{{ 1 | length }}", "the length of int"},
           {"{{ 'a' | trim('a') }}", "trim with more than 0 arguments"},
           {"{{ messages.upper() }}", "the method upper of a list"},
           {"{{ raise_exception() }}", "raise_exception with other than one argument"},
           {"{% for a in 'abc' %}{% endfor %}", "for over a string"},
           {"{{ messages }}", "printing a list"}}) {
    const auto pieces = parse(source)->render(messages, true, kBos, kEos);
    ASSERT_FALSE(pieces.ok()) << source;
    EXPECT_EQ(pieces.status().kind(), ErrorKind::kModel) << source;
    EXPECT_EQ(pieces.status().message(), "chat template, line 1: " + what + " is not supported");
  }
  for (const char* source : {"{{ raise_exception('x') }}", "{{ x + 1 }}", "{{ 1 // 0 }}",
                             "{{ raise_exception('this role is not supported by it') }}"}) {
    const auto pieces = parse(source)->render(messages, true, kBos, kEos);
    ASSERT_FALSE(pieces.ok()) << source;
    EXPECT_EQ(pieces.status().kind(), ErrorKind::kRuntime) << source;
  }
}

TEST(ChatTemplate, RaiseExceptionIsTheTemplatesOwnWord) {
  expect_error("\n{{ raise_exception('Only ' ~ 2 ~ ' roles') }}", "line 2: Only 2 roles");
}

TEST(ChatTemplate, LimitsHold) {
  const std::string list = "{% set x = [1,1,1,1,1,1,1,1,1,1] %}";
  std::string nested = list;
  for (int i = 0; i < 8; ++i) nested += "{% for a in x %}";
  nested += "y";
  for (int i = 0; i < 8; ++i) nested += "{% endfor %}";
  expect_error(nested, "more than 1000000 steps");

  ChatTemplateLimits limits;
  std::string doubling = "{% set s = messages[0].content %}";
  for (int i = 0; i < 60; ++i) doubling += "{% set s = s + s %}";
  limits.max_output_bytes = 1 << 20;
  EXPECT_NE(run(doubling, {{"user", "hi"}}, limits).find("bytes in all"), std::string::npos);
  std::string doubling_list = "{% set s = [1] %}";
  for (int i = 0; i < 60; ++i) doubling_list += "{% set s = s + s %}";
  expect_error(doubling_list, "more than 1000000 steps");

  limits.max_output_bytes = 10;
  EXPECT_EQ(run("0123456789", {}, limits), "0123456789");
  EXPECT_NE(run("0123456789a", {}, limits).find("10 bytes of output"), std::string::npos);
  limits = {};
  limits.max_depth = 4;
  EXPECT_EQ(run("{% if true %}{% if true %}x{% endif %}{% endif %}", {}, limits), "x");
  EXPECT_NE(run("{{ ((1 + 1) * 2 ~ 'a') | trim | trim }}", {}, limits).find("4 levels"),
            std::string::npos);
}

TEST(ChatTemplate, DeepSourcesAreRefusedAndLongOnesAreNot) {
  const auto repeat = [](std::string_view text, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += text;
    return result;
  };
  for (const auto& [open, close] : std::map<std::string, std::string>{
           {"(", ")"}, {"[", "]"}, {"not ", ""}, {"-", ""}, {"x[", "]"}, {"1 if 1 else ", ""}}) {
    expect_error("{{ " + repeat(open, 50'000) + "1" + repeat(close, 50'000) + " }}",
                 "nested more than 64 levels");
  }
  for (const std::string_view tail : {".a", "[0]", "|trim", " is defined", " if 1 else 1"}) {
    expect_error("{{ x" + repeat(tail, 50'000) + " }}", "nested more than 64 levels");
  }
  expect_error(repeat("{% if 1 %}", 50'000), "nested more than 64 levels");
  // Chains are not nesting.
  EXPECT_EQ(run("{{ 0" + repeat(" + 1", 10'000) + " }}"), "10000");
  EXPECT_EQ(run("{{ 'a'" + repeat(" ~ 'a'", 1000) + " }}").size(), 1001U);
  EXPECT_EQ(run("{{ 1" + repeat(" and 1", 10'000) + " }}"), "1");
  EXPECT_EQ(run("{% if 0 %}" + repeat("{% elif 0 %}", 10'000) + "{% else %}z{% endif %}"), "z");
  std::string lists = "{% set x = [] %}" + repeat("{% set x = [x] %}", 10'000);
  expect_error(lists, "lists nested more than 64 levels");
}

TEST(ChatTemplate, SourcesMustBeShortUtf8) {
  EXPECT_NE(run("a\xFF").find("invalid UTF-8 at byte 1"), std::string::npos);
  EXPECT_NE(run(std::string((1 << 20) + 1, 'a')).find("at most 1048576"), std::string::npos);
}

TEST(ChatTemplate, IntegersDoNotOverflow) {
  expect_error("{{ 9223372036854775807 + 1 }}", "has no result");
  expect_error("{{ 9223372036854775807 * 2 }}", "has no result");
  expect_error("{{ 9223372036854775808 }}", "out of range");
  expect_error("{{ -(-9223372036854775807 - 1) }}", "has no result");
  expect_error("{{ (-9223372036854775807 - 1) // -1 }}", "has no result");
}

// Every special string, in every role, through SmolLM2's template: none becomes a control token.
TEST(ChatTemplate, ControlTokensInMessagesStayText) {
  const Tokenizer& tokenizer = small_tokenizer();
  const auto chat_template = load("smollm2.jinja");
  const auto count_controls = [&](const std::vector<ChatMessage>& messages) {
    const auto pieces = chat_template->render(messages, true, kBos, kEos);
    EXPECT_TRUE(pieces.ok());
    int64_t count = 0;
    for (const int32_t id : tokenizer.encode(*pieces)) count += tokenizer.is_special(id);
    return count;
  };
  for (const char* role : {"system", "user", "assistant"}) {
    const int64_t plain = count_controls({{"system", "s"}, {role, "x"}});
    for (const AddedToken& token : tokenizer.data().added_tokens) {
      if (!token.special) continue;
      EXPECT_EQ(count_controls({{"system", "s"}, {role, token.text}}), plain) << token.text;
      EXPECT_EQ(count_controls({{"system", "s"}, {token.text, "x"}}), plain) << token.text;
      EXPECT_EQ(count_controls({{"system", token.text}, {role, token.text + token.text}}), plain);
    }
  }
}

}  // namespace
}  // namespace lserve
