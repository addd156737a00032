#include "cli/options_table.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/check.h"
#include "base/strings.h"
#include "cli/options_kernel_rows.h"

namespace lserve {

namespace {

constexpr uint32_t kRun = verb_bit(Verb::kRun);
constexpr uint32_t kInfo = verb_bit(Verb::kInfo);
constexpr uint32_t kTokenize = verb_bit(Verb::kTokenize);
constexpr uint32_t kEval = verb_bit(Verb::kEvalPerplexity);
constexpr uint32_t kBench = verb_bit(Verb::kBenchLatency);
constexpr uint32_t kCompute = kRun | kEval | kBench;
constexpr uint32_t kPlan = kCompute | kInfo;  // whatever changes the memory plan
constexpr uint32_t kText = kRun | kTokenize | kEval;
// What says how attention is done, and on which device.
constexpr uint32_t kOperations = kPlan | kKernelVerb;
constexpr uint32_t kEvery = kOperations | kTokenize;
constexpr uint32_t kGlobal = kEvery | verb_bit(Verb::kNone);

// attention/attention_config.h's limits, which validate() enforces for every source.
constexpr double kPageTokens = 64;
constexpr double kMaxWindow = 16'777'216;

constexpr std::string_view kInputGroup = "Input";
constexpr std::string_view kAnswerGroup = "Answer";
constexpr std::string_view kMeasureGroup = "Measurement";
constexpr std::string_view kSparseGroup = "Sparse attention";
constexpr std::string_view kMemoryGroup = "Context and memory";
constexpr std::string_view kDeviceGroup = "Device";
constexpr std::string_view kGeneralGroup = "General";

Status check_not_zero(std::string_view value, std::string_view what) {
  const Result<double> number = parse_double(value, what);
  if (number.ok() && *number == 0) return usage_error(cat(what, ": must be above 0"));
  return {};
}

Status check_not_empty(std::string_view value, std::string_view what) {
  if (!value.empty()) return {};
  return usage_error(cat(what, ": the value is empty"));
}

constexpr std::array<VerbSpec, 6> kVerbs = {{
    {Verb::kRun, "run", "MODEL [PROMPT]", 2, "answer a prompt; a terminal without one is a chat"},
    {Verb::kInfo, "info", "MODEL", 1, "shapes, files, tokenizer and memory plan of a model"},
    {Verb::kTokenize, "tokenize", "MODEL [PROMPT]", 2, "token ids of a text"},
    {Verb::kEvalPerplexity, "eval perplexity", "MODEL [PROMPT]", 2, "how well it predicts a text"},
    {Verb::kBenchLatency, "bench latency", "MODEL", 1, "prefill and decode speed by context"},
    {Verb::kBenchKernel, "bench kernel", "OP", 1,
     "speed of single operations, in parts of what the device can do"},
}};

constexpr auto kRows = std::to_array<OptionSpec>({
    // Input
    {.name = "model",
     .short_name = "-m",
     .group = kInputGroup,
     .verbs = kPlan | kTokenize,
     .type = OptionType::kText,
     .value_name = "PATH",
     .help = "the model, instead of the argument MODEL; with LSERVE_MODEL set, one argument that "
             "is no file is the PROMPT"},
    {.name = "lora",
     .group = kInputGroup,
     .verbs = kPlan,
     .type = OptionType::kText,
     .value_name = "DIR",
     .help = "a PEFT LoRA adapter to apply; a config.json in DIR sets rope and context",
     .common = true},
    {.name = "lora-scale",
     .group = kInputGroup,
     .verbs = kPlan,
     .type = OptionType::kNumber,
     .value_name = "X",
     .default_text = "1",
     .help = "how much of the adapter; 0: none of it",
     .min = -1000,
     .max = 1000},
    {.name = "prompt",
     .short_name = "-p",
     .group = kInputGroup,
     .verbs = kText,
     .type = OptionType::kText,
     .value_name = "TEXT",
     .help = "the prompt, instead of the argument PROMPT",
     .common = true},
    {.name = "file",
     .short_name = "-f",
     .group = kInputGroup,
     .verbs = kText,
     .type = OptionType::kText,
     .value_name = "FILE",
     .help = "text to put before PROMPT, with a blank line between; -: standard input",
     .common = true},
    {.name = "system",
     .short_name = "-sys",
     .group = kInputGroup,
     .verbs = kRun,
     .type = OptionType::kText,
     .value_name = "TEXT",
     .help = "the system message",
     .common = true},
    {.name = "chat-template",
     .group = kInputGroup,
     .verbs = kRun,
     .type = OptionType::kText,
     .value_name = "FILE",
     .help = "a Jinja chat template to use instead of the model's own"},
    {.name = "chat-template-kwargs",
     .group = kInputGroup,
     .verbs = kRun,
     .type = OptionType::kText,
     .value_name = "JSON",
     .help = "variables for the chat template: {\"enable_thinking\": false}"},
    {.name = "raw",
     .group = kInputGroup,
     .verbs = kRun,
     .help = "do not apply the model's chat template",
     .common = true},
    {.name = "parse-special",
     .group = kInputGroup,
     .verbs = kTokenize,
     .help = "read text that looks like a control token as one",
     .common = true},

    // Answer
    {.name = "max-tokens",
     .short_name = "-n",
     .alias = "n-predict",
     .group = kAnswerGroup,
     .verbs = kRun,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "auto",
     .help = "tokens to generate at most; auto: what the context leaves",
     .min = 1,
     .common = true},
    {.name = "temperature",
     .alias = "temp",
     .group = kAnswerGroup,
     .verbs = kRun,
     .type = OptionType::kNumber,
     .value_name = "T",
     .default_text = "0",
     .help = "0: always the likeliest token",
     .min = 0,
     .max = 100,
     .common = true},
    {.name = "top-p",
     .group = kAnswerGroup,
     .verbs = kRun,
     .type = OptionType::kNumber,
     .value_name = "P",
     .default_text = "1",
     .help = "keep the likeliest tokens up to this sum",
     .min = 0,
     .max = 1,
     .check = check_not_zero},
    {.name = "top-k",
     .group = kAnswerGroup,
     .verbs = kRun,
     .type = OptionType::kInt,
     .value_name = "K",
     .default_text = "0",
     .help = "keep the K likeliest tokens; 0: all",
     .min = 0,
     .max = 1e9},
    {.name = "min-p",
     .group = kAnswerGroup,
     .verbs = kRun,
     .type = OptionType::kNumber,
     .value_name = "P",
     .default_text = "0",
     .help = "drop tokens below this share of the likeliest",
     .min = 0,
     .max = 1},
    {.name = "seed",
     .short_name = "-s",
     .group = kAnswerGroup,
     .verbs = kRun | kBench,
     .type = OptionType::kInt,
     .value_name = "N",
     .default_text = "0",
     .help = "the same seed gives the same answer",
     .min = 0},
    {.name = "stop",
     .group = kAnswerGroup,
     .verbs = kRun,
     .type = OptionType::kText,
     .value_name = "TEXT",
     .help = "end the answer before this text; may be given several times",
     .common = true,
     .repeatable = true,
     .check = check_not_empty},
    {.name = "ignore-eos",
     .group = kAnswerGroup,
     .verbs = kRun,
     .help = "go on after the model's end of text"},
    {.name = "no-stream",
     .group = kAnswerGroup,
     .verbs = kRun,
     .help = "print the answer when it is complete"},

    // Measurement
    {.name = "prompt-tokens",
     .short_name = "-p",
     .group = kMeasureGroup,
     .verbs = kBench,
     .type = OptionType::kCountList,
     .value_name = "N,...",
     .default_text = "512",
     .help = "contexts to measure",
     .min = 1,
     .common = true},
    {.name = "batch",
     .group = kMeasureGroup,
     .verbs = kBench,
     .type = OptionType::kCountList,
     .value_name = "N,...",
     .default_text = "1",
     .help = "sequences that decode together; above 1: decode only",
     .min = 1,
     .max = 256},
    {.name = "decode-cache",
     .group = kMeasureGroup,
     .verbs = kBench,
     .type = OptionType::kChoice,
     .value_name = "auto|prefill|random",
     .default_text = "auto",
     .help = "what decode reads: a prompt, or random keys and values, without its minutes; auto: "
             "random for random models"},
    {.name = "op-times",
     .group = kMeasureGroup,
     .verbs = kBench,
     .help = "a table of where the time goes, by operation; measuring it slows the steps"},
    {.name = "no-prefill",
     .group = kMeasureGroup,
     .verbs = kBench,
     .help = "with a random cache: measure decode only"},
    {.name = "decode-tokens",
     .short_name = "-n",
     .group = kMeasureGroup,
     .verbs = kBench,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "32",
     .help = "tokens to decode after each context",
     .min = 1,
     .common = true},
    {.name = "decode-tokens",
     .group = kMeasureGroup,
     .verbs = kEval,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "0",
     .help = "feed the last N tokens one by one, through the decode path",
     .min = 0,
     .common = true},
    {.name = "repetitions",
     .short_name = "-r",
     .group = kMeasureGroup,
     .verbs = kBench,
     .type = OptionType::kInt,
     .value_name = "N",
     .default_text = "3",
     .help = "runs of each measurement",
     .min = 1,
     .max = 1000,
     .common = true},

    // Sparse attention
    {.name = "attention",
     .group = kSparseGroup,
     .verbs = kPlan & ~kBench,
     .type = OptionType::kChoice,
     .value_name = "auto|dense|streaming|pages|lserve",
     .default_text = "auto",
     .help = "auto: lserve if there is a head pattern, else dense",
     .common = true},
    {.name = "attention",
     .group = kSparseGroup,
     .verbs = kBench,
     .type = OptionType::kChoiceList,
     .value_name = "auto|dense|streaming|pages|lserve,...",
     .default_text = "auto",
     .help = "the modes to measure, in one run",
     .common = true},
    {.name = "streaming-heads",
     .group = kSparseGroup,
     .verbs = kPlan,
     .type = OptionType::kText,
     .value_name = "PATH",
     .help = "head pattern, a file or directory; else head_pattern/ of the adapter or MODEL",
     .common = true},
    {.name = "streaming-fraction",
     .group = kSparseGroup,
     .verbs = kOperations,
     .type = OptionType::kNumber,
     .value_name = "F",
     .default_text = "0.5",
     .help = "share of the KV heads that stream",
     .min = 0,
     .max = 1},
    {.name = "sink-tokens",
     .group = kSparseGroup,
     .verbs = kOperations,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "128",
     .help = "first tokens that streaming heads see; the pattern's config.json sets it too",
     .min = 0,
     .max = kMaxWindow},
    {.name = "local-tokens",
     .group = kSparseGroup,
     .verbs = kOperations,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "256",
     .help = "last tokens that streaming heads see; the pattern's config.json sets it too",
     .min = 1,
     .max = kMaxWindow},
    {.name = "prefill-local-tokens",
     .group = kSparseGroup,
     .verbs = kPlan,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "auto",
     .help = "that window in prefill; auto: local-tokens, so chunking never changes a result",
     .min = 1,
     .max = kMaxWindow},
    {.name = "token-budget",
     .group = kSparseGroup,
     .verbs = kOperations,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "4096",
     .help = "tokens that a retrieval head reads per decode step; a multiple of 64",
     .min = 1,
     .max = 1e9,
     .common = true},
    {.name = "logical-page-size",
     .group = kSparseGroup,
     .verbs = kOperations,
     .type = OptionType::kChoice,
     .value_name = "16|32|64",
     .default_text = "16",
     .help = "tokens that share key statistics"},
    {.name = "reuse-interval",
     .group = kSparseGroup,
     .verbs = kPlan,
     .type = OptionType::kInt,
     .value_name = "N",
     .default_text = "4",
     .help = "decode steps that one selection serves",
     .min = 1,
     .max = kPageTokens},
    {.name = "page-score",
     .group = kSparseGroup,
     .verbs = kOperations,
     .type = OptionType::kChoice,
     .value_name = "minmax|mean-std",
     .default_text = "minmax",
     .help = "how the selector rates a page: by a bound of its keys' scores, or by their mean and "
             "spread"},
    {.name = "selector-group",
     .group = kSparseGroup,
     .verbs = kPlan,
     .type = OptionType::kChoice,
     .value_name = "max|mean|per-query-head",
     .default_text = "max",
     .help = "how the query heads of a group share one list of pages; per-query-head: not at all, "
             "and each reads its own"},

    // Context and memory
    {.name = "max-model-len",
     .short_name = "-c",
     .alias = "ctx-size",
     .group = kMemoryGroup,
     .verbs = kPlan,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "auto",
     .help = "context in tokens (32k = 32768); auto: as the model says, as far as needed",
     .min = 0,
     .max = 1e9,
     .common = true},
    {.name = "kv-cache-dtype",
     .group = kMemoryGroup,
     .verbs = kPlan,
     .type = OptionType::kChoice,
     .value_name = "auto|bf16|int8|int4|fp32",
     .default_text = "auto",
     .help = "how keys and values are stored; auto: bf16",
     .common = true},
    {.name = "kv-cache-memory",
     .group = kMemoryGroup,
     .verbs = kPlan,
     .type = OptionType::kBytes,
     .value_name = "SIZE",
     .default_text = "auto",
     .help = "memory for keys and values (8GiB), which decides the context if --max-model-len does "
             "not; auto: what the context needs",
     .min = 1,
     .common = true},
    {.name = "gpu-memory-utilization",
     .group = kMemoryGroup,
     .verbs = kOperations,
     .type = OptionType::kNumber,
     .value_name = "F",
     .default_text = "0.90",
     .help = "share of a GPU's memory that this process may use; refused on other devices",
     .min = 0,
     .max = 1,
     .check = check_not_zero},
    {.name = "kv-save",
     .group = kMemoryGroup,
     .verbs = kRun,
     .type = OptionType::kText,
     .value_name = "FILE",
     .help = "keep the prompt's keys and values, for another question about the same text",
     .common = true,
     .check = check_not_empty},
    {.name = "kv-load",
     .group = kMemoryGroup,
     .verbs = kRun,
     .type = OptionType::kText,
     .value_name = "FILE",
     .help = "go on from what --kv-save kept, as far as this prompt begins alike; a file that is "
             "damaged, or of another model, head pattern, KV format or rope is refused (exit 3)",
     .common = true,
     .check = check_not_empty},
    {.name = "chunk",
     .group = kMemoryGroup,
     .verbs = kPlan,
     .type = OptionType::kCount,
     .value_name = "N",
     .default_text = "512",
     .help = "prompt tokens per prefill step",
     .min = 1,
     .max = 1e6},
    {.name = "rope-theta",
     .group = kMemoryGroup,
     .verbs = kPlan,
     .type = OptionType::kNumber,
     .value_name = "X",
     .default_text = "auto",
     .help = "rope base; auto: as the model says",
     .min = 0,
     .max = 1e12,
     .check = check_not_zero},
    {.name = "rope-scaling",
     .group = kMemoryGroup,
     .verbs = kPlan,
     .type = OptionType::kText,
     .value_name = "KIND",
     .default_text = "auto",
     .help = "none, linear:FACTOR, llama3:FACTOR:LOW:HIGH:ORIGINAL or "
             "yarn:FACTOR:ORIGINAL:FAST:SLOW:ATTENTION; auto: as the model says"},

    // Device
    {.name = "device",
     .group = kDeviceGroup,
     .verbs = kOperations,
     .type = OptionType::kChoice,
     .value_name = "auto|cpu|cuda|reference",
     .default_text = "auto",
     .help = "auto: cuda if this build and this machine have it, else cpu; reference: slow plain "
             "loops, the oracle"},
    {.name = "no-cuda-graphs",
     .group = kDeviceGroup,
     .verbs = kOperations,
     .help = "launch every kernel of a decode step by itself: the same tokens, slower"},
    {.name = "cpu-isa",
     .group = kDeviceGroup,
     .verbs = kOperations,
     .type = OptionType::kChoice,
     .value_name = "auto|generic|avx2|avx512|avx512_bf16",
     .default_text = "auto",
     .help = "instruction set; auto: the best that this machine has"},
    {.name = "threads",
     .short_name = "-t",
     .group = kDeviceGroup,
     .verbs = kOperations,
     .type = OptionType::kInt,
     .value_name = "N",
     .default_text = "auto",
     .help = "auto: as many as the process may use",
     .min = 1,
     .max = 1024,
     .common = true},

    // General
    {.name = "json",
     .group = kGeneralGroup,
     .verbs = kEvery,
     .help = "print one JSON object on standard output",
     .common = true},
    {.name = "verbose",
     .short_name = "-v",
     .group = kGeneralGroup,
     .verbs = kEvery,
     .help = "say more on standard error"},
    {.name = "quiet",
     .short_name = "-q",
     .group = kGeneralGroup,
     .verbs = kEvery,
     .help = "say only warnings on standard error"},
    {.name = "config",
     .group = kGeneralGroup,
     .verbs = kEvery,
     .type = OptionType::kText,
     .value_name = "FILE",
     .help = "read options from FILE, lines of the form: key = value",
     .common = true},
    {.name = "dump-config",
     .group = kGeneralGroup,
     .verbs = kEvery,
     .help = "print every option with its value and where it came from, and stop",
     .command_line_only = true},
    {.name = "version",
     .group = kGeneralGroup,
     .verbs = kGlobal,
     .help = "print the version",
     .command_line_only = true},
    {.name = "help",
     .short_name = "-h",
     .group = kGeneralGroup,
     .verbs = kGlobal,
     .help = "print the common options",
     .common = true,
     .command_line_only = true},
    {.name = "help-all",
     .group = kGeneralGroup,
     .verbs = kGlobal,
     .help = "print every option and its environment variable",
     .common = true,
     .command_line_only = true},
});

constexpr auto kOptions = [] {
  std::array<OptionSpec, kKernelRows.size() + kRows.size()> all{};
  std::copy(kRows.begin(), kRows.end(),
            std::copy(kKernelRows.begin(), kKernelRows.end(), all.begin()));
  return all;
}();

}  // namespace

std::span<const VerbSpec> verb_table() { return kVerbs; }

const VerbSpec& verb_spec(Verb verb) {
  const auto* spec = std::find_if(kVerbs.begin(), kVerbs.end(),
                                  [verb](const VerbSpec& v) { return v.verb == verb; });
  CHECK(spec != kVerbs.end());
  return *spec;
}

std::span<const OptionSpec> option_table() { return kOptions; }

const OptionSpec* find_option(Verb verb, std::string_view name) {
  if (name.empty()) return nullptr;
  for (const OptionSpec& spec : kOptions) {
    if ((spec.verbs & verb_bit(verb)) == 0) continue;
    if (name == spec.name || name == spec.alias || name == spec.short_name) return &spec;
  }
  return nullptr;
}

std::string environment_name(const OptionSpec& spec) {
  std::string out = "LSERVE_";
  for (const char c : spec.name) {
    out += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

std::vector<std::string> choices_of(const OptionSpec& spec) {
  std::string_view words = spec.value_name;
  if (words.ends_with(",...")) words.remove_suffix(4);
  std::vector<std::string> out;
  while (!words.empty()) {
    const size_t bar = words.find('|');
    out.emplace_back(words.substr(0, bar));
    words = bar == std::string_view::npos ? std::string_view() : words.substr(bar + 1);
  }
  return out;
}

}  // namespace lserve
