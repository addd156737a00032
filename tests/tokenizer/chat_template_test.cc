#include "tokenizer/chat_template.h"

#include <filesystem>
#include <map>

#include "base/random.h"
#include "base/strings.h"
#include "tokenizer/test_chat_input.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

constexpr std::string_view kBos = "<|im_start|>", kEos = "<|im_end|>";

std::unique_ptr<ChatTemplate> parse(std::string_view source) {
  auto result = ChatTemplate::parse(source);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? std::move(result).value() : nullptr;
}

std::unique_ptr<ChatTemplate> load(const std::string& name) {
  return parse(read_file(data_path("chat/" + name), 1 << 20).value());
}

std::vector<std::string> template_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_path("chat"))) {
    if (entry.path().extension() == ".jinja") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string join(const std::vector<PromptPiece>& pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) text += piece.text;
  return text;
}

ChatInput plain_input(const std::vector<ChatMessage>& messages) {
  ChatInput input;
  input.messages = chat_messages(messages);
  input.bos_token = kBos;
  input.eos_token = kEos;
  input.now = golden_time();
  return input;
}

// Every row of a file of short sources.
void expect_rows_render(const std::string& file, const Json& messages, size_t at_least) {
  size_t rendered = 0;
  for (const Json& row : read_json_lines(file)) {
    ChatInput input = chat_input_of(row);
    if (row.find("messages") == nullptr) {
      input.messages = messages;
      input.bos_token = kBos;
      input.eos_token = kEos;
    }
    const std::string& source = row.find("source")->as_string();
    const Json* text = row.find("text");
    const auto parsed = ChatTemplate::parse(source);
    if (!parsed.ok()) {
      EXPECT_EQ(text, nullptr) << source << ": " << parsed.status().message();
      EXPECT_EQ(parsed.status().kind(), ErrorKind::kModel);
      continue;
    }
    const auto pieces = (*parsed)->render(input);
    ASSERT_EQ(pieces.ok(), text != nullptr)
        << source << ": " << (pieces.ok() ? join(*pieces) : pieces.status().message());
    if (!pieces.ok()) {
      EXPECT_TRUE(pieces.status().message().starts_with("chat template, line ")) << source;
      continue;
    }
    EXPECT_EQ(join(*pieces), text->as_string()) << source;
    ++rendered;
  }
  EXPECT_GE(rendered, at_least);
}

TEST(ChatTemplateGoldens, ConversationsRenderAsWithJinja2) {
  const std::vector<Json> dialogues = read_json_lines("chat/dialogues.jsonl");
  std::map<std::string, std::unique_ptr<ChatTemplate>> templates;
  std::map<std::string, int> rendered;
  size_t with_ids = 0, failed = 0;
  for (const Json& row : read_json_lines("chat/conversations.jsonl")) {
    const std::string& name = row.find("template")->as_string();
    if (!templates.contains(name)) templates[name] = load(name);
    const auto index = static_cast<size_t>(row.find("dialogue")->as_int());
    ChatInput input = chat_input_of(dialogues.at(index));
    input.add_generation_prompt = row.find("add_generation_prompt")->as_bool();
    input.bos_token = kBos;
    input.eos_token = kEos;
    const auto pieces = templates[name]->render(input);
    const Json* text = row.find("text");
    ASSERT_EQ(pieces.ok(), text != nullptr)
        << name << ", dialogue " << index << ": "
        << (pieces.ok() ? join(*pieces) : pieces.status().message());
    if (!pieces.ok()) {
      ++failed;
      continue;
    }
    ASSERT_EQ(join(*pieces), text->as_string()) << name << ", dialogue " << index;
    ++rendered[name];
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
  EXPECT_EQ(rendered.size(), template_names().size());
  EXPECT_GE(rendered.size(), size_t{20});
  for (const auto& [name, count] : rendered) EXPECT_GE(count, 12) << name;
  EXPECT_GE(with_ids, size_t{40});
  EXPECT_GE(failed, size_t{20});
}

TEST(ChatTemplateGoldens, FragmentsRenderAsWithJinja2) {
  const std::vector<ChatMessage> messages = {
      {"system", "S s"}, {"user", "\xC3\x9C u"}, {"assistant", "A a"}};
  expect_rows_render("chat/fragments.jsonl", chat_messages(messages), 150);
}

TEST(ChatTemplateGoldens, RandomTemplatesRenderAsWithJinja2) {
  expect_rows_render("chat/random.jsonl", Json::array(), 100);
}

TEST(ChatTemplateGoldens, SmolLm2sOwnTemplateIsTheCommittedOne) {
  if (smollm2_tokenizer() == nullptr) GTEST_SKIP() << "no " << smollm2_path();
  EXPECT_EQ(smollm2_tokenizer()->data().chat_template,
            read_file(data_path("chat/smollm2.jinja"), 1 << 20).value());
}

// Texts of a user are marked by characters that no template has; so each byte's origin is known.
TEST(ChatTemplate, EveryByteOfTheInputIsMarkedAndNoOther) {
  constexpr uint64_t kSeed = 31;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  const auto marked = [&] {
    std::string text;
    for (int64_t j = random.integer(0, 6); j > 0; --j) {
      text += random.uniform() < 0.5 ? "\xE3\x80\x80" : "\xEE\x80\x81";  // a space, a letter
    }
    return text;
  };
  const std::unique_ptr<ChatTemplate> tricks = parse(
      "{%- for m in messages %}{% set c = m.content %}<{{ c | trim }}|{{ c[1:] }}|{{ "
      "c[:-1].strip() "
      "~ c }}|{{ (c + '.' + c) | trim | string }}|{{ c or 'x' }}|{{ [c, '-'][0] }}|{{ m.role }}>"
      "{{ c | default('y', true) }}{{ 'z' if c == m['content'] }}{{ c | replace(c[:1], '_') }}"
      "{{ 'abc' | replace('b', c) }}{{ c.split() | join('+') }}{{ [c, c] | join(c) }}{{ c[::-1] }}"
      "{{ c | indent(2, true) }}{{ 'a\\nb' | indent(c, true) }}{{ '%s:%5s' % (c, c) }}{{ c % 1 if "
      "c == '%' }}"
      "{{ '{}{x}'.format(c, x=c) }}{{ c * 2 }}{{ m | tojson }}{{ {c: c} | tojson(indent=c) }}"
      "{{ ('<' | safe) + c }}{{ c | upper }}{{ c.title() }}{{ 'x'.ljust(3, c[0] or '.') }}"
      "{% set b %}{{ c }}{% endset %}{{ b }}{% set ns = namespace(m, t=c) %}{{ ns.t }}"
      "{% filter lower %}{{ c }}!{% endfilter %}{{ c | list | join('/') }}{{ c.partition('x') | "
      "join }}"
      "{% for k, v in m.items() %}{{ k ~ v }}{% endfor %}{{ m | dictsort | map('last') | join }}"
      "{{ tools | map(attribute='d') | join(';') }}{{ v }}{{ [1] | tojson(separators=(c, c)) }}{% "
      "endfor %}");
  for (int round = 0; round < 300; ++round) {
    ChatInput input;
    for (int64_t i = random.integer(0, 4); i > 0; --i) {
      Json message = Json::object();
      message.set("role", marked()).set("content", marked());
      if (random.uniform() < 0.5) message.set("\xEE\x80\x82" + marked(), marked());
      input.messages.push_back(std::move(message));
    }
    input.tools = Json::array();
    input.tools.push_back(Json::object());
    input.tools.as_array()[0].set("d", marked());
    input.variables = Json::object();
    input.variables.set("v", marked());
    const auto pieces = tricks->render(input);
    ASSERT_TRUE(pieces.ok()) << pieces.status().message();
    for (const PromptPiece& piece : *pieces) {
      for (const char c : piece.text) {
        const bool is_marked = (static_cast<unsigned char>(c) & 0x80) != 0;
        // The names "role", "content" and "d" are the user's too, as keys.
        ASSERT_TRUE(piece.from_message || !is_marked) << piece.text;
      }
    }
    EXPECT_TRUE(input.messages.as_array().empty() || join(*pieces).find('<') != std::string::npos);
  }
}

TEST(ChatTemplate, WhatIsNotTheInputsIsNotMarked) {
  const auto pieces = parse("a{{ messages[0].content | upper }}b{{ 1 ~ none }}")
                          ->render(plain_input({{"user", "x\xC3\xA9"}}));
  ASSERT_TRUE(pieces.ok());
  ASSERT_EQ(pieces->size(), 3U);
  EXPECT_EQ((*pieces)[1].text, "X\xC3\x89");
  EXPECT_TRUE((*pieces)[1].from_message);
  EXPECT_EQ((*pieces)[2].text, "b1None");
  EXPECT_FALSE((*pieces)[2].from_message);
}

// Every special string, in every role and place, through every template: none becomes a control
// token.
TEST(ChatTemplate, ControlTokensInTheInputStayText) {
  const Tokenizer& tokenizer = small_tokenizer();
  const std::vector<AddedToken>& tokens = tokenizer.data().added_tokens;
  size_t compared = 0;
  for (const std::string& name : template_names()) {
    const auto chat_template = load(name);
    // Control tokens of the prompt for a conversation about `text`; none where it is refused.
    const auto count_controls = [&](const std::string& role,
                                    const std::string& text) -> std::optional<int64_t> {
      ChatInput input = plain_input({{"user", text}, {role, text}, {"user", "x" + text}});
      input.tools = Json::array();
      Json function = Json::object();
      function.set("name", text).set("description", text).set("parameters", Json::object());
      input.tools.push_back(Json::object());
      input.tools.as_array()[0].set("type", "function").set("function", std::move(function));
      const auto pieces = chat_template->render(input);
      if (!pieces.ok()) return std::nullopt;
      int64_t count = 0;
      for (const int32_t id : tokenizer.encode(*pieces)) count += tokenizer.is_special(id);
      return count;
    };
    for (const char* role : {"system", "user", "assistant", "tool"}) {
      const std::optional<int64_t> plain = count_controls(role, "abc");
      for (const AddedToken& token : tokens) {
        if (!token.special) continue;
        EXPECT_EQ(count_controls(role, token.text), plain) << name << " " << token.text;
        EXPECT_EQ(count_controls(role, token.text + token.text), plain) << name << token.text;
        compared += plain ? 1 : 0;
      }
    }
    // A role is a user's text as well.
    for (const AddedToken& token : tokens) {
      const std::optional<int64_t> with_role = count_controls(token.text, "abc");
      EXPECT_TRUE(!with_role || with_role == count_controls("some role", "abc")) << name;
    }
  }
  EXPECT_GE(compared, size_t{500});
}

TEST(ChatTemplate, VariablesOfTheOperatorAreChecked) {
  const auto check = [](std::string_view text) {
    const Status status = check_template_variables(Json::parse(text, "x").value(), "kwargs");
    if (status.ok()) return std::string();
    EXPECT_EQ(status.kind(), ErrorKind::kUsage);
    return status.message();
  };
  EXPECT_EQ(check(R"({"enable_thinking": false, "a": 1, "b": 1.5, "c": "x", "d": null})"), "");
  EXPECT_EQ(check("{}"), "");
  EXPECT_NE(check("[]").find("not a JSON object"), std::string::npos);
  EXPECT_NE(check(R"({"messages": 1})").find("messages is given by the engine"), std::string::npos);
  EXPECT_NE(check(R"({"__class__": 1})").find("no name of a variable"), std::string::npos);
  EXPECT_NE(check(R"({"a b": 1})").find("no name of a variable"), std::string::npos);
  EXPECT_NE(check(R"({"a": []})").find("a is neither"), std::string::npos);
  std::string many = "{\"a\": 1";
  for (int i = 0; i < 64; ++i) many += cat(", \"a", i, "\": 1");
  EXPECT_NE(check(many + "}").find("more than 64"), std::string::npos);
}

}  // namespace
}  // namespace lserve
