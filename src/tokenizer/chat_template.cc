#include "tokenizer/chat_template.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_evaluator.h"
#include "tokenizer/jinja_parser.h"

namespace lserve {

namespace {

using jinja::Member;
using jinja::Text;
using jinja::Value;

constexpr size_t kMaxVariables = 64;
constexpr std::array<std::string_view, 6> kOwnVariables = {
    "messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"};

// Where a message's reasoning may stand; transformers passes it on under the first two names.
constexpr std::array<std::string_view, 3> kReasoningNames = {"reasoning_content", "thinking",
                                                             "reasoning"};

// Errors: nested more deeply than values may be.
Result<Value> to_value(const Json& json) {
  if (json.is_null()) return Value();
  if (json.is_bool()) return Value(json.as_bool());
  if (json.is_int()) return Value(json.as_int());
  if (json.is_number()) return Value(json.as_double());
  if (json.is_string()) return Value(Text(json.as_string(), true));
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& element : json.as_array()) {
      ASSIGN_OR_RETURN(Value item, to_value(element));
      items.push_back(std::move(item));
    }
    return jinja::make_list(std::move(items));
  }
  std::vector<Member> members;
  for (const auto& [key, element] : json.as_object()) {
    ASSIGN_OR_RETURN(Value item, to_value(element));
    members.emplace_back(Value(Text(key, true)), std::move(item));
  }
  return jinja::make_dict(std::move(members));
}

// The message as transformers hands it on: reasoning under any of its names has all the names that
// templates read.
Result<Value> message_value(const Json& message) {
  ASSIGN_OR_RETURN(Value value, to_value(message));
  const Json* reasoning = nullptr;
  for (const std::string_view name : kReasoningNames) {
    const Json* found = message.find(name);
    if (reasoning == nullptr && found != nullptr && !found->is_null()) reasoning = found;
  }
  if (reasoning == nullptr) return value;
  ASSIGN_OR_RETURN(const Value text, to_value(*reasoning));
  std::vector<Member> members = value.dict().members;
  const auto find = [&](std::string_view name) {
    return std::find_if(members.begin(), members.end(),
                        [&](const Member& member) { return member.first.bytes() == name; });
  };
  if (const auto found = find("reasoning_content"); found != members.end()) {
    found->second = text;
  } else {
    members.emplace_back(Value(jinja::own_text("reasoning_content")), text);
  }
  if (const auto found = find("thinking"); found != members.end()) {
    std::rotate(members.begin(), found, found + 1);
  } else {
    members.insert(members.begin(), {Value(jinja::own_text("thinking")), text});
  }
  return jinja::make_dict(std::move(members));
}

Result<jinja::Variables> variables_of(const ChatInput& input) {
  std::vector<Value> messages;
  for (const Json& message : input.messages.as_array()) {
    ASSIGN_OR_RETURN(Value value, message_value(message));
    messages.push_back(std::move(value));
  }
  jinja::Variables variables;
  ASSIGN_OR_RETURN(Value list, jinja::make_list(std::move(messages)));
  variables.emplace_back("messages", std::move(list));
  ASSIGN_OR_RETURN(Value tools, to_value(input.tools));
  variables.emplace_back("tools", std::move(tools));
  ASSIGN_OR_RETURN(Value documents, to_value(input.documents));
  variables.emplace_back("documents", std::move(documents));
  variables.emplace_back("add_generation_prompt", Value(input.add_generation_prompt));
  for (const auto& [name, token] :
       {std::pair("bos_token", &input.bos_token), std::pair("eos_token", &input.eos_token)}) {
    if (!token->empty()) variables.emplace_back(name, Value(jinja::own_text(*token)));
  }
  if (input.variables.is_null()) return variables;
  for (const auto& [name, json] : input.variables.as_object()) {
    ASSIGN_OR_RETURN(Value value, to_value(json));
    variables.emplace_back(name, std::move(value));
  }
  return variables;
}

bool is_ordinary_name(std::string_view name) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), [&](char c) {
    return is_letter(c) || c == '_' || (c >= '0' && c <= '9');
  });
}

class JinjaTemplate : public ChatTemplate {
 public:
  explicit JinjaTemplate(jinja::Template source) : source_(std::move(source)) {}

  Result<std::vector<PromptPiece>> render(const ChatInput& input,
                                          const ChatTemplateLimits& limits) const override {
    ASSIGN_OR_RETURN(const jinja::Variables variables, variables_of(input));
    ASSIGN_OR_RETURN(const Text text, jinja::evaluate(source_, variables, input.now, limits));
    std::vector<PromptPiece> pieces;
    size_t begin = 0;
    for (const Text::Run& run : text.runs()) {
      pieces.push_back({text.bytes().substr(begin, run.end - begin), run.from_message});
      begin = run.end;
    }
    return pieces;
  }

 private:
  jinja::Template source_;
};

}  // namespace

Json chat_messages(std::span<const ChatMessage> messages) {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    Json object = Json::object();
    object.set("role", message.role).set("content", message.content);
    list.push_back(std::move(object));
  }
  return list;
}

Status check_template_variables(const Json& variables, std::string_view what) {
  if (!variables.is_object()) return usage_error(cat(what, ": not a JSON object"));
  if (variables.as_object().size() > kMaxVariables) {
    return usage_error(cat(what, ": more than ", kMaxVariables, " variables"));
  }
  for (const auto& [name, value] : variables.as_object()) {
    if (!is_ordinary_name(name)) {
      return usage_error(cat(what, ": ", quoted(name), " is no name of a variable"));
    }
    if (std::find(kOwnVariables.begin(), kOwnVariables.end(), name) != kOwnVariables.end()) {
      return usage_error(cat(what, ": ", name, " is given by the engine itself"));
    }
    if (value.is_array() || value.is_object()) {
      return usage_error(
          cat(what, ": ", name, " is neither a string, a number, true, false nor null"));
    }
  }
  return {};
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string_view source) {
  ASSIGN_OR_RETURN(jinja::Template parsed, jinja::parse(source));
  return std::unique_ptr<ChatTemplate>(std::make_unique<JinjaTemplate>(std::move(parsed)));
}

}  // namespace lserve
