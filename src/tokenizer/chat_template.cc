#include "tokenizer/chat_template.h"

#include <utility>

#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_evaluator.h"
#include "tokenizer/jinja_parser.h"

namespace lserve {

namespace {

using jinja::Dict;
using jinja::List;
using jinja::Text;
using jinja::Value;

class JinjaTemplate : public ChatTemplate {
 public:
  explicit JinjaTemplate(jinja::Body body) : body_(std::move(body)) {}

  Result<std::vector<PromptPiece>> render(std::span<const ChatMessage> messages,
                                          bool add_generation_prompt, std::string_view bos_token,
                                          std::string_view eos_token,
                                          const ChatTemplateLimits& limits) const override {
    List list;
    for (const ChatMessage& message : messages) {
      Dict dict;
      dict.members = {{"role", Value(Text(message.role, true))},
                      {"content", Value(Text(message.content, true))}};
      list.items.push_back(Value(std::move(dict)));
    }
    jinja::Variables globals = {
        {"messages", Value(std::move(list))},
        {"add_generation_prompt", Value(add_generation_prompt)},
        {"bos_token", Value(Text(std::string(bos_token), false))},
        {"eos_token", Value(Text(std::string(eos_token), false))},
        {"tools", Value()},  // transformers passes these two as none
        {"documents", Value()},
    };
    ASSIGN_OR_RETURN(const Text text, jinja::evaluate(body_, std::move(globals), limits));
    std::vector<PromptPiece> pieces;
    size_t begin = 0;
    for (const Text::Run& run : text.runs()) {
      pieces.push_back({text.bytes().substr(begin, run.end - begin), run.from_message});
      begin = run.end;
    }
    return pieces;
  }

 private:
  jinja::Body body_;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string_view source) {
  ASSIGN_OR_RETURN(jinja::Body body, jinja::parse(source));
  return std::unique_ptr<ChatTemplate>(std::make_unique<JinjaTemplate>(std::move(body)));
}

}  // namespace lserve
