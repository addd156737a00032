#include "cli/chat.h"

#include <iostream>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/strings.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace lserve {

namespace {

class Chat {
 public:
  Chat(const CommandLine& options, Engine& engine, const PromptBuilder& builder)
      : options_(options),
        engine_(engine),
        builder_(builder),
        templated_(builder.has_chat_template() && !options.get_flag("raw")),
        sequence_(engine.new_sequence()) {
    clear();
  }

  Status run() {
    log_info("chat    /exit ends, /clear forgets, /tokens counts; Ctrl-C stops an answer");
    std::string line;
    while (print("> "), std::getline(std::cin, line)) {
      if (line == "/exit") break;
      if (line == "/clear") {
        clear();
      } else if (line == "/tokens") {
        log_info(cat(with_separators(sequence_.kv_len()), " of ",
                     with_separators(engine_.context()), " tokens"));
      } else if (!line.empty()) {
        RETURN_IF_ERROR(turn(line));
      }
    }
    return {};
  }

 private:
  void clear() {
    messages_.clear();
    text_.clear();
    sequence_ = engine_.new_sequence();
    if (options_.is_set("system")) messages_.push_back({"system", options_.get_text("system")});
  }

  Result<std::vector<int32_t>> prompt() const {
    if (templated_) return builder_.chat(messages_, engine_.context());
    return builder_.raw(text_);
  }

  // One question, one answer. A prompt that does not fit ends the turn, not the chat.
  Status turn(const std::string& line) {
    messages_.push_back({"user", line});
    const std::string text_before = text_;
    text_ += line + "\n";
    Request request = request_options(options_);
    ASSIGN_OR_RETURN(request.prompt, prompt());
    const InterruptScope interrupt;
    GenerateHooks hooks;
    hooks.on_text = print;
    hooks.interrupted = interrupt.flag();
    const Result<Answer> answer =
        generate(engine_, builder_.tokenizer(), request, sequence_, hooks);
    print("\n");
    if (!answer.ok() && answer.status().kind() == ErrorKind::kUsage) {
      log_warning(answer.status().message() + "; /clear forgets the conversation");
      messages_.pop_back();
      text_ = text_before;
      return {};
    }
    if (!answer.ok()) return answer.status();
    messages_.push_back({"assistant", answer->text});
    text_ += answer->text + "\n";
    return {};
  }

  const CommandLine& options_;
  Engine& engine_;
  const PromptBuilder& builder_;
  bool templated_;
  Sequence sequence_;
  std::vector<ChatMessage> messages_;
  std::string text_;  // the conversation of a model without a template
};

}  // namespace

Status chat(const CommandLine& options, Engine& engine, const PromptBuilder& builder) {
  return Chat(options, engine, builder).run();
}

}  // namespace lserve
