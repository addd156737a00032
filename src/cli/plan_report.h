// The plan for people and for machines: what was decided before loading, and why.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine_plan.h"

namespace lserve {

// The start-up lines: device, model, adapter if there is one, memory, sparsity.
std::vector<std::string> plan_lines(const EnginePlan& plan, const Backend& backend);

// "adapter" of the JSON outputs: what it is for and its ranks; null without one.
Json adapter_json(const EnginePlan& plan);

// "memory" of the JSON outputs: bytes by kind, the context, what is available.
Json memory_json(const EnginePlan& plan);

}  // namespace lserve
