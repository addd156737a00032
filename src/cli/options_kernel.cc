#include "cli/options_kernel.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "base/check.h"
#include "base/strings.h"
#include "cli/options_kernel_rows.h"
#include "cli/options_value.h"

namespace lserve {

namespace {

template <typename T, size_t N>
T by_word(const std::array<std::pair<std::string_view, T>, N>& table, const std::string& word) {
  const auto* found =
      std::find_if(table.begin(), table.end(), [&](const auto& row) { return row.first == word; });
  CHECK(found != table.end());
  return found->second;
}

constexpr std::array<std::pair<std::string_view, AttentionMode>, 4> kModes = {{
    {"dense", AttentionMode::kDense},
    {"streaming", AttentionMode::kStreaming},
    {"pages", AttentionMode::kPages},
    {"lserve", AttentionMode::kLServe},
}};
constexpr std::array<std::pair<std::string_view, KvFormat>, 4> kFormats = {{
    {"fp32", KvFormat::kF32},
    {"bf16", KvFormat::kBF16},
    {"int8", KvFormat::kInt8},
    {"int4", KvFormat::kInt4},
}};

constexpr std::array<std::pair<std::string_view, WeightFormat>, 5> kWeights = {{
    {"bf16", WeightFormat::kBF16},
    {"w8a8", WeightFormat::kW8A8},
    {"fp8", WeightFormat::kFp8},
    {"w4a8", WeightFormat::kW4A8},
    {"w4a16", WeightFormat::kW4A16},
}};
constexpr std::array<std::pair<std::string_view, BlockLists>, 3> kBlockLists = {{
    {"random", BlockLists::kRandom},
    {"vertical-slash", BlockLists::kVerticalSlash},
    {"single", BlockLists::kSingle},
}};

constexpr std::string_view kAll = "all";

std::vector<std::string> ops_of(const CommandLine& options) {
  std::vector<std::string> ops = split_list(options.get_text("op"));
  if (std::find(ops.begin(), ops.end(), kAll) == ops.end()) return ops;
  ops.clear();
  for (const KernelOp& op : kKernelOps) ops.emplace_back(op.name);
  return ops;
}

KernelCase shared_settings(const CommandLine& options) {
  const auto count = [&](const char* name) { return static_cast<int32_t>(options.get_int(name)); };
  KernelCase c;
  c.shape = options.get_text("shape");
  c.seed = static_cast<uint64_t>(options.get_int("seed"));
  c.streaming_fraction = options.get_number("streaming-fraction");
  c.attention.sink_tokens = count("sink-tokens");
  c.attention.local_tokens = count("local-tokens");
  c.attention.token_budget = count("token-budget");
  c.attention.logical_page_size = count("logical-page-size");
  const bool mean_spread = options.get_text("page-score") == "mean-std";
  c.attention.page_score = mean_spread ? PageScore::kMeanStd : PageScore::kMinMax;
  const bool codes = options.get_text("key-stats-dtype") == "int8";
  c.attention.key_stats = codes ? KeyStatsFormat::kInt8 : KeyStatsFormat::kBF16;
  return c;
}

// Every case once more for each value.
template <typename T>
void multiply(std::vector<KernelCase>* cases, const std::vector<T>& values,
              const std::function<void(KernelCase*, const T&)>& set) {
  std::vector<KernelCase> all;
  for (const KernelCase& c : *cases) {
    for (const T& value : values) set(&all.emplace_back(c), value);
  }
  *cases = std::move(all);
}

}  // namespace

Status check_kernel_ops(std::string_view value, std::string_view what) {
  std::vector<std::string> known = {std::string(kAll)};
  for (const KernelOp& op : kKernelOps) known.emplace_back(op.name);
  for (const std::string& word : split_list(value)) {
    if (std::find(known.begin(), known.end(), word) != known.end()) continue;
    std::string list;
    for (const std::string& name : known) list += cat(list.empty() ? "" : ", ", name);
    const auto guess = did_you_mean(word, known);
    return usage_error(cat(what, ": ", quoted(word), " is not one of: ", list,
                           guess ? cat("; did you mean ", *guess, "?") : std::string()));
  }
  return {};
}

std::vector<KernelCase> kernel_cases(const CommandLine& options) {
  std::vector<KernelCase> all;
  for (const std::string& name : ops_of(options)) {
    const KernelOp& op = kernel_op(name);
    std::vector<KernelCase> cases = {shared_settings(options)};
    cases[0].op = name;
    if (op.has(KernelDim::kBlocks) && options.is_set("beside")) {
      cases[0].beside = options.get_ints("beside");
    }
    if (op.has(KernelDim::kAttention)) {
      multiply<std::string>(&cases, options.get_texts("attention"),
                            [](auto* c, const auto& w) { c->attention.mode = by_word(kModes, w); });
    }
    if (op.has(KernelDim::kKvFormat)) {
      multiply<std::string>(&cases, options.get_texts("kv-cache-dtype"),
                            [](auto* c, const auto& w) { c->kv_format = by_word(kFormats, w); });
    }
    if (op.has(KernelDim::kWeights)) {
      multiply<std::string>(&cases, options.get_texts("weights"),
                            [](auto* c, const auto& w) { c->weights = by_word(kWeights, w); });
    }
    if (op.has(KernelDim::kContext)) {
      multiply<int64_t>(&cases, options.get_ints("context"),
                        [](auto* c, int64_t n) { c->context = n; });
    }
    if (op.has(KernelDim::kBlocks)) {
      multiply<std::string>(&cases, options.get_texts("block-lists"), [](auto* c, const auto& w) {
        c->block_lists = by_word(kBlockLists, w);
      });
      multiply<int64_t>(&cases, options.get_ints("skip-blocks"), [](auto* c, int64_t percent) {
        c->skip_percent = static_cast<int32_t>(percent);
      });
    }
    if (op.has(KernelDim::kBatch)) {
      multiply<int64_t>(&cases, options.get_ints("batch"),
                        [](auto* c, int64_t n) { c->batch = n; });
    }
    if (op.has(KernelDim::kTokens) && options.is_set("tokens")) {
      multiply<int64_t>(&cases, options.get_ints("tokens"),
                        [](auto* c, int64_t n) { c->tokens = n; });
    }
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace lserve
