// The rows of the option table (options_table.h) that say what `lserve bench kernel` measures.
#pragma once

#include <array>

#include "cli/options_rows.h"

namespace lserve {

inline constexpr std::string_view kWhatGroup = "What to measure";

// kUsage, with what may have been meant, if the comma list names an operation that there is not.
Status check_kernel_ops(std::string_view value, std::string_view what);

inline constexpr auto kKernelRows = std::to_array<OptionSpec>({
    {.name = "op",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kText,
     .value_name = "OP,...",
     .help =
         "all, or some of embed, rms_norm, linear, silu_mul, rope, write_kv, rope_write_kv, "
         "prefill_attention, decode_attention, page_scores, select_pages, select_spans, sample; "
         "instead of the argument OP",
     .common = true,
     .check = check_kernel_ops},
    {.name = "shape",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kChoice,
     .value_name = "llama-3-8b|llama-2-7b|minitron-4b|llama-3.2-1b|smollm2-135m|tiny",
     .default_text = "llama-3-8b",
     .help = "the model whose matrices and heads they have; its weights are random",
     .common = true},
    {.name = "tokens",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kCountList,
     .value_name = "N,...",
     .help = "rows of activations; prefill_attention: the last N tokens of the context (else 1 "
             "row, or the whole context)",
     .min = 1,
     .max = 1 << 24,
     .common = true},
    {.name = "context",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kCountList,
     .value_name = "N,...",
     .default_text = "8k",
     .help = "tokens of each sequence (attention, page_scores, select_pages, select_spans)",
     .min = 1,
     .max = 1 << 24,
     .common = true},
    {.name = "batch",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kCountList,
     .value_name = "N,...",
     .default_text = "1",
     .help = "sequences that decode together (decode_attention, page_scores, select_pages, "
             "select_spans, sample)",
     .min = 1,
     .max = 256,
     .common = true},
    {.name = "attention",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kChoiceList,
     .value_name = "dense|streaming|pages|lserve,...",
     .default_text = "dense",
     .help =
         "which tokens attention reads; streaming, lserve: every other KV head streams, and the "
         "selector works for the others only",
     .common = true},
    {.name = "kv-cache-dtype",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kChoiceList,
     .value_name = "bf16|int8|int4|fp32,...",
     .default_text = "bf16",
     .help = "how keys and values are stored",
     .common = true},
    {.name = "skip-blocks",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kCountList,
     .value_name = "PERCENT,...",
     .default_text = "0",
     .help = "prefill_attention: how many of the key blocks are left out by explicit lists, for "
             "heads that do not stream",
     .min = 0,
     .max = 99},
    {.name = "block-lists",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kChoiceList,
     .value_name = "random|vertical-slash|single,...",
     .default_text = "random",
     .help = "which ones; single: random ones, each listed by itself, also if none is left out"},
    {.name = "beside",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kCountList,
     .value_name = "N,...",
     .help = "prefill_attention: whole prompts of N tokens in the same call; every part alone too",
     .min = 1,
     .max = 1 << 24},
    {.name = "repetitions",
     .short_name = "-r",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kInt,
     .value_name = "N",
     .default_text = "20",
     .help = "measurements of each case",
     .min = 1,
     .max = 100000,
     .common = true},
    {.name = "seed",
     .short_name = "-s",
     .group = kWhatGroup,
     .verbs = kKernelVerb,
     .type = OptionType::kInt,
     .value_name = "N",
     .default_text = "0",
     .help = "of the random data",
     .min = 0},
});

}  // namespace lserve
