// An engine over random:tiny on the reference backend, whose costs can be counted by hand.
#pragma once

#include <memory>
#include <utility>

#include "engine/engine.h"
#include "kernels/op_times.h"

namespace lserve::test {

// random:tiny: 4 layers, hidden 256, 8 query heads, 2 KV heads of head_dim 64, ffn 512, bf16. No
// head streams. `times`, if not null, receives what operations take.
inline std::unique_ptr<Engine> load_tiny(AttentionMode mode, OpTimes* times = nullptr) {
  EngineConfig config;
  config.model_path = "random:tiny";
  config.mode = mode;
  config.streaming_fraction = 0;
  config.attention.token_budget = 512;
  config.max_model_len = 2048;
  config.chunk = 64;
  auto backend = make_backend({.kind = BackendKind::kReference, .num_threads = 2}).value();
  if (times != nullptr) backend = make_timed_backend(std::move(backend), times);
  auto plan = make_engine_plan(config, *backend, MemoryCheck::kEnforce).value();
  return Engine::load(std::move(plan), std::move(backend), {}).value();
}

}  // namespace lserve::test
