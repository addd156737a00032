// lserve info: what a model is, what is supported, and what a context costs; no weight is read.
#include "base/json.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "cli/verbs.h"

namespace lserve {

namespace {

const char* rope_name(RopeType type) {
  switch (type) {
    case RopeType::kDefault:
      return "default";
    case RopeType::kLinear:
      return "linear";
    case RopeType::kLlama3:
      return "llama3";
    case RopeType::kYarn:
      return "yarn";
  }
  return "?";
}

// How many tensors and bytes the file holds in each format.
Json formats_json(const Checkpoint& checkpoint) {
  Json formats = Json::object();
  for (const WeightFormat format : kAllWeightFormats) {
    int64_t count = 0;
    int64_t bytes = 0;
    for (const TensorInfo& tensor : checkpoint.tensors()) {
      if (tensor.format != format) continue;
      ++count;
      bytes += static_cast<int64_t>(tensor.bytes);
    }
    if (count == 0) continue;
    formats.set(weight_format_name(format),
                Json::object().set("tensors", count).set("bytes", bytes));
  }
  return formats;
}

Json rope_json(const RopeConfig& rope) {
  Json json = Json::object();
  json.set("type", rope_name(rope.type)).set("theta", rope.theta).set("factor", rope.factor);
  if (rope.type == RopeType::kLlama3) {
    json.set("low_freq_factor", rope.low_freq_factor)
        .set("high_freq_factor", rope.high_freq_factor)
        .set("original_max_position", rope.original_max_position);
  }
  if (rope.type == RopeType::kYarn) {
    json.set("original_max_position", rope.original_max_position)
        .set("beta_fast", rope.beta_fast)
        .set("beta_slow", rope.beta_slow)
        .set("attention_factor", rope.attention_factor);
  }
  return json;
}

// What this build can do with the model; the modes with streaming heads need a pattern.
Json supported_json(const EnginePlan& plan) {
  Json modes = Json::array();
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kStreaming,
                                   AttentionMode::kPages, AttentionMode::kLServe}) {
    if (!has_streaming_heads(mode) || !plan.pattern_path.empty()) {
      modes.push_back(attention_mode_name(mode));
    }
  }
  Json formats = Json::array();
  for (const KvFormat format : kKvFormats) formats.push_back(kv_format_name(format));
  Json weights = Json::array();
  for (const std::string& word : choices_of(*find_option(Verb::kInfo, "weights"))) {
    weights.push_back(word);
  }
  return Json::object()
      .set("attention", std::move(modes))
      .set("kv_dtype", std::move(formats))
      .set("weights", std::move(weights));
}

Json model_json(const EnginePlan& plan) {
  const ModelConfig& m = plan.inputs.config;
  return Json::object()
      .set("architecture", m.architecture)
      .set("num_layers", m.num_layers)
      .set("hidden_size", m.hidden_size)
      .set("intermediate_size", m.intermediate_size)
      .set("num_q_heads", m.num_q_heads)
      .set("num_kv_heads", m.num_kv_heads)
      .set("head_dim", m.head_dim)
      .set("vocab_size", m.vocab_size)
      .set("max_position", m.max_position)
      .set("rms_norm_eps", m.rms_norm_eps)
      .set("tied_embeddings", m.tied_embeddings)
      .set("rope", rope_json(m.rope));
}

const char* tokenizer_type(const TokenizerData& data) {
  return data.sentence_piece ? "SentencePiece BPE" : "byte-level BPE";
}

const char* pre_tokenizer_name(PreTokenizer kind) {
  switch (kind) {
    case PreTokenizer::kGpt2:
      return "gpt-2";
    case PreTokenizer::kSmolLm:
      return "smollm";
    case PreTokenizer::kLlama3:
      return "llama-3";
    case PreTokenizer::kQwen2:
      return "qwen2";
    case PreTokenizer::kWhole:
    case PreTokenizer::kSpaces:
    case PreTokenizer::kSpaceRuns:
      return "none";
  }
  return "";
}

// Null for a model of random weights.
Json tokenizer_json(const PromptBuilder* builder) {
  if (builder == nullptr) return {};
  const TokenizerData& data = builder->tokenizer().data();
  Json eos = Json::array();
  for (const int32_t id : data.eos_token_ids) eos.push_back(id);
  return Json::object()
      .set("type", tokenizer_type(data))
      .set("pre_tokenizer", pre_tokenizer_name(data.pre_tokenizer))
      .set("vocab_size", builder->tokenizer().vocab_size())
      .set("add_bos", data.add_bos)
      .set("eos_token_ids", std::move(eos))
      .set("chat_template", builder->has_chat_template());
}

std::string tokenizer_line(const PromptBuilder* builder) {
  if (builder == nullptr) return "tokens  none: the weights are random\n";
  const TokenizerData& data = builder->tokenizer().data();
  return cat("tokens  ", tokenizer_type(data), ", ", data.add_bos ? "BOS added" : "no BOS", ", ",
             builder->has_chat_template() ? "with a chat template\n" : "no chat template\n");
}

Json attention_json(const EnginePlan& plan) {
  const AttentionConfig& a = plan.inputs.attention;
  return Json::object()
      .set("mode", attention_mode_name(a.mode))
      .set("head_pattern", plan.pattern_path)
      .set("streaming_heads", plan.inputs.pattern.num_streaming())
      .set("kv_heads", plan.inputs.config.num_layers * plan.inputs.config.num_kv_heads)
      .set("sink_tokens", a.sink_tokens)
      .set("local_tokens", a.local_tokens)
      .set("token_budget", a.token_budget)
      .set("page_score", page_score_name(a.page_score))
      .set("key_stats_dtype", key_stats_format_name(a.key_stats))
      .set("selector_group", selector_group_name(a.selector_group));
}

Json files_json(const EnginePlan& plan) {
  return Json::object()
      .set("form", plan.checkpoint->describe())
      .set("bytes", static_cast<int64_t>(plan.checkpoint->file_bytes()))
      .set("formats", formats_json(*plan.checkpoint));
}

std::string report(const EnginePlan& plan, const PromptBuilder* builder, const Backend& backend) {
  const ModelConfig& m = plan.inputs.config;
  std::string out;
  for (const std::string& line : plan_lines(plan, backend)) out += line + "\n";
  out += cat("shape   hidden ", m.hidden_size, ", mlp ", m.intermediate_size, ", vocabulary ",
             with_separators(m.vocab_size), ", GQA group ", m.gqa_group_size(), ", rope ",
             rope_name(m.rope.type), " theta ", m.rope.theta,
             m.tied_embeddings ? ", tied embeddings\n" : "\n");
  out += cat("files   ", human_bytes(plan.checkpoint->file_bytes()), ", ",
             formats_json(*plan.checkpoint).dump(), "\n");
  out += tokenizer_line(builder);
  if (plan.largest_context < plan.memory.context) {
    out += cat("note    this context does not fit; ",
               plan.largest_context == 0
                   ? "not even one token does"
                   : cat("the largest that does: ", with_separators(plan.largest_context)),
               "\n");
  }
  return out;
}

}  // namespace

Status info_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(EngineConfig config, engine_config(options));
  ASSIGN_OR_RETURN(const auto backend, open_backend(options, &config.backend));
  ASSIGN_OR_RETURN(const EnginePlan plan,
                   make_engine_plan(config, *backend, MemoryCheck::kReportOnly));
  std::unique_ptr<PromptBuilder> builder;
  if (plan.checkpoint->has_tokenizer()) {
    ASSIGN_OR_RETURN(builder, load_prompt_builder(*plan.checkpoint));
  }
  if (!options.get_flag("json")) {
    print(report(plan, builder.get(), *backend));
    return {};
  }
  print(Json::object()
            .set("model", model_json(plan))
            .set("files", files_json(plan))
            .set("tokenizer", tokenizer_json(builder.get()))
            .set("supported", supported_json(plan))
            .set("attention", attention_json(plan))
            .set("adapter", adapter_json(plan))
            .set("memory", memory_json(plan))
            .dump(2) +
        "\n");
  return {};
}

}  // namespace lserve
