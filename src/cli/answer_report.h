// An answer for machines (--json) and its summary for people.
#pragma once

#include <string>

#include "base/json.h"
#include "engine/generate.h"

namespace lserve {

// {text, token_ids, finish_reason, usage (OpenAI), timings (llama.cpp), sparsity, memory}
Json answer_json(const Answer& answer, Engine& engine);

// The lines printed after an answer: speeds, time to first token, pages read of pages held, KV
// bytes.
std::string answer_summary(const Answer& answer, Engine& engine);

}  // namespace lserve
