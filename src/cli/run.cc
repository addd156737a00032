// lserve run: one prompt, one answer; or a chat on a terminal (chat.cc).
#include "base/log.h"
#include "base/strings.h"
#include "cli/answer_report.h"
#include "cli/chat.h"
#include "cli/engine_options.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/kv_files.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "engine/kv_snapshot.h"

namespace lserve {

namespace {

// What generation_config.json recommends, where the user said nothing.
Status take_model_defaults(const GenerationDefaults& defaults, CommandLine* options) {
  const std::string where = "generation_config.json";
  if (defaults.temperature) {
    RETURN_IF_ERROR(options->set_model_default("temperature", cat(*defaults.temperature), where));
  }
  if (defaults.top_p) {
    RETURN_IF_ERROR(options->set_model_default("top-p", cat(*defaults.top_p), where));
  }
  if (defaults.top_k) {
    RETURN_IF_ERROR(options->set_model_default("top-k", cat(*defaults.top_k), where));
  }
  return {};
}

Result<std::vector<int32_t>> prompt_tokens(const CommandLine& options, const PromptBuilder& builder,
                                           const std::string& text, int64_t context) {
  if (options.get_flag("raw") && options.is_set("chat-template")) {
    return usage_error("--chat-template has no place in a --raw prompt");
  }
  if (options.get_flag("raw") || !builder.has_chat_template()) {
    if (options.is_set("system")) {
      return usage_error(options.get_flag("raw")
                             ? "--system has no place in a --raw prompt"
                             : "--system: this model has no chat template to put it into");
    }
    return builder.raw(text);
  }
  std::vector<ChatMessage> messages;
  if (options.is_set("system")) messages.push_back({"system", options.get_text("system")});
  messages.push_back({"user", text});
  return builder.chat(messages, context);
}

Status answer_once(const CommandLine& options, Engine& engine, const Tokenizer& tokenizer,
                   const Request& request, KvFiles& kv_files) {
  const bool json = options.get_flag("json");
  const bool stream = !json && !options.get_flag("no-stream");
  ASSIGN_OR_RETURN(Sequence sequence, kv_files.restore(engine, request.prompt));
  const InterruptScope interrupt;
  Progress progress("prompt ", Progress::Unit::kTokens);
  GenerateHooks hooks;
  hooks.interrupted = interrupt.flag();
  hooks.on_prefill = [&](int64_t done, int64_t total) {
    progress.update(done, total);
    if (done == total) progress.finish();
  };
  hooks.on_prompt = [&] { kv_files.save(engine, sequence); };
  if (stream) hooks.on_text = print;
  ASSIGN_OR_RETURN(const Answer answer, generate(engine, tokenizer, request, sequence, hooks));
  if (json) {
    Json out = answer_json(answer, engine);
    if (KvFiles::are_named(options)) out.set("kv_file", kv_files.json());
    print(out.dump() + "\n");
  } else {
    print(stream ? "\n" : answer.text + "\n");
  }
  log_info(answer_summary(answer, engine));
  RETURN_IF_ERROR(finish_output());
  if (answer.finish_reason == FinishReason::kInterrupted) {
    return Status::error(ErrorKind::kInterrupted, "interrupted");
  }
  return kv_files.status();
}

}  // namespace

Request request_options(const CommandLine& options) {
  Request request;
  // A limit of 0 is "none"; the option's word for "what is left" reads as 0 as well.
  request.max_tokens =
      options.get_text("max-tokens") == "auto" ? -1 : options.get_int("max-tokens");
  request.sampling = {.temperature = static_cast<float>(options.get_number("temperature")),
                      .top_k = static_cast<int32_t>(options.get_int("top-k")),
                      .top_p = static_cast<float>(options.get_number("top-p")),
                      .min_p = static_cast<float>(options.get_number("min-p")),
                      .seed = static_cast<uint64_t>(options.get_int("seed"))};
  request.stops = options.get_texts("stop");
  request.ignore_eos = options.get_flag("ignore-eos");
  return request;
}

Status run_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(EngineConfig config, engine_config(options));
  if (options.is_set("kv-save")) config.resume_tokens = kResumeTokens;
  ASSIGN_OR_RETURN(ChatSettings chat_settings, read_chat_settings(options));
  ASSIGN_OR_RETURN(auto backend, open_backend(options, &config.backend));
  ASSIGN_OR_RETURN(EnginePlan plan, make_engine_plan(config, *backend, MemoryCheck::kEnforce));
  RETURN_IF_ERROR(take_model_defaults(plan.checkpoint->config().generation, &options));
  ASSIGN_OR_RETURN(const auto builder,
                   load_prompt_builder(*plan.checkpoint, std::move(chat_settings)));
  if (!has_input(options)) {
    if (KvFiles::are_named(options)) return usage_error("--kv-load and --kv-save need a prompt");
    ASSIGN_OR_RETURN(const auto engine, load_engine(std::move(plan), std::move(backend)));
    return chat(options, *engine, *builder);
  }
  ASSIGN_OR_RETURN(const std::string text, read_input(options));
  if (text.empty()) return usage_error("the prompt is empty");
  Request request = request_options(options);
  ASSIGN_OR_RETURN(request.prompt, prompt_tokens(options, *builder, text, plan.memory.context));
  // Before the weights are read.
  RETURN_IF_ERROR(
      check_prompt_length(static_cast<int64_t>(request.prompt.size()), plan.memory.context));
  ASSIGN_OR_RETURN(KvFiles kv_files, KvFiles::open(options));
  ASSIGN_OR_RETURN(const auto engine, load_engine(std::move(plan), std::move(backend)));
  return answer_once(options, *engine, builder->tokenizer(), request, kv_files);
}

}  // namespace lserve
