// What the rows of the option table share: the verbs that they belong to, the groups that help
// shows them in, and checks of a value. START HERE to add a row: options_text_rows.h (prompt,
// answer), options_attention_rows.h, options_memory_rows.h, options_device_rows.h,
// options_measure_rows.h (bench latency, eval), options_kernel_rows.h (bench kernel).
#pragma once

#include "cli/options_table.h"

namespace lserve {

inline constexpr uint32_t kRun = verb_bit(Verb::kRun);
inline constexpr uint32_t kInfo = verb_bit(Verb::kInfo);
inline constexpr uint32_t kTokenize = verb_bit(Verb::kTokenize);
inline constexpr uint32_t kQuantize = verb_bit(Verb::kQuantize);
inline constexpr uint32_t kEval = verb_bit(Verb::kEvalPerplexity);
inline constexpr uint32_t kBench = verb_bit(Verb::kBenchLatency);
inline constexpr uint32_t kKernelVerb = verb_bit(Verb::kBenchKernel);
inline constexpr uint32_t kCompute = kRun | kEval | kBench;
inline constexpr uint32_t kPlan = kCompute | kInfo;  // whatever changes the memory plan
inline constexpr uint32_t kText = kRun | kTokenize | kEval;
// What says how attention is done, and on which device.
inline constexpr uint32_t kOperations = kPlan | kKernelVerb;
inline constexpr uint32_t kEvery = kOperations | kTokenize | kQuantize;
inline constexpr uint32_t kGlobal = kEvery | verb_bit(Verb::kNone);

// attention/attention_config.h's limits, which validate() enforces for every source.
inline constexpr double kPageTokens = 64;
inline constexpr double kMaxWindow = 16'777'216;

inline constexpr std::string_view kInputGroup = "Input";
inline constexpr std::string_view kAnswerGroup = "Answer";
inline constexpr std::string_view kMeasureGroup = "Measurement";
inline constexpr std::string_view kSparseGroup = "Sparse attention";
inline constexpr std::string_view kMemoryGroup = "Context and memory";
inline constexpr std::string_view kDeviceGroup = "Device";
inline constexpr std::string_view kGeneralGroup = "General";

// kUsage: a number that is 0; an empty text.
Status check_not_zero(std::string_view value, std::string_view what);
Status check_not_empty(std::string_view value, std::string_view what);

}  // namespace lserve
