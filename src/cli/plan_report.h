// The plan for people and for machines: what was decided before loading, and why.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine_plan.h"

namespace lserve {

// The start-up lines: device, model, memory, sparsity.
std::vector<std::string> plan_lines(const EnginePlan& plan, const Backend& backend);

// "memory" of the JSON outputs: bytes by kind, the context, what is available.
Json memory_json(const EnginePlan& plan);

}  // namespace lserve
