// lserve eval perplexity: how well a model predicts a text, in any attention mode.
#include "base/json.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "evaluation/perplexity.h"

namespace lserve {

namespace {

void print_result(const Perplexity& result, bool json) {
  if (json) {
    print(Json::object()
              .set("tokens", result.tokens)
              .set("nll", result.nll)
              .set("perplexity", result.perplexity())
              .set("decode",
                   Json::object().set("tokens", result.decode_tokens).set("nll", result.decode_nll))
              .dump() +
          "\n");
    return;
  }
  print(cat("tokens      ", with_separators(result.tokens), "\nnll         ", fixed(result.nll, 4),
            "\nperplexity  ", fixed(result.perplexity(), 4), "\n"));
  if (result.decode_tokens > 0) {
    print(cat("decode      ", result.decode_tokens, " tokens, nll ", fixed(result.decode_nll, 4),
              "\n"));
  }
}

}  // namespace

Status perplexity_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(EngineConfig config, engine_config(options));
  ASSIGN_OR_RETURN(const std::string text, read_input(options));
  ASSIGN_OR_RETURN(auto backend, open_backend(options, &config.backend));
  ASSIGN_OR_RETURN(EnginePlan plan, make_engine_plan(config, *backend, MemoryCheck::kEnforce));
  ASSIGN_OR_RETURN(const auto builder, load_prompt_builder(*plan.checkpoint));
  const std::vector<int32_t> tokens = builder->raw(text);
  ASSIGN_OR_RETURN(const auto engine, load_engine(std::move(plan), std::move(backend)));
  Progress progress("eval   ", Progress::Unit::kTokens);
  ASSIGN_OR_RETURN(
      const Perplexity result,
      measure_perplexity(*engine, tokens, options.get_int("decode-tokens"), [&](int64_t done) {
        progress.update(done, static_cast<int64_t>(tokens.size()));
      }));
  print_result(result, options.get_flag("json"));
  return {};
}

}  // namespace lserve
