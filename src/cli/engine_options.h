// From options to an engine: shared by all verbs that compute.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "cli/options.h"
#include "engine/engine.h"
#include "engine/engine_config.h"
#include "engine/prompt.h"

namespace lserve {

// What --attention, the sparse options, --max-model-len and so on ask for. kUsage: no model, or a
// value that only makes sense together with others.
Result<EngineConfig> engine_config(const CommandLine& options);
// What --device, --threads and so on ask for; the cpu for "auto" (open_backend).
BackendOptions backend_options(const CommandLine& options);
// What --weights and --head-weights ask for.
WeightChoice weight_choice(const CommandLine& options);
// A word of --attention; "auto" is absent.
std::optional<AttentionMode> parse_attention(const std::string& word);

// The model named on the command line. kUsage if there is none.
Result<std::string> model_path(const CommandLine& options);

// What --chat-template and --chat-template-kwargs say. Errors: kUsage.
Result<ChatSettings> read_chat_settings(const CommandLine& options);
// The checkpoint's tokenizer and template.
Result<std::unique_ptr<PromptBuilder>> load_prompt_builder(const Checkpoint& checkpoint,
                                                           ChatSettings settings = {});

// The device that --device names; auto: cuda where this build and this machine have it, else the
// cpu, with a line on why. `backend` then says which: make_backend() opens it once more. kUsage: an
// option that the device has no use for.
Result<std::unique_ptr<Backend>> open_backend(const CommandLine& options, BackendOptions* backend);
// Prints the plan, loads with a progress line, prints "ready".
Result<std::unique_ptr<Engine>> load_engine(EnginePlan plan, std::unique_ptr<Backend> backend);

}  // namespace lserve
