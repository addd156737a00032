// The rows of the option table (options_table.h) that say what `lserve bench latency` and `lserve
// eval` measure.
#pragma once

#include <array>

#include "cli/options_rows.h"

namespace lserve {

inline constexpr auto kMeasureRows = std::to_array<OptionSpec>({
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
});

}  // namespace lserve
