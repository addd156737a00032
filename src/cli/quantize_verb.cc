// lserve quantize: a model with low-bit weights, as a directory of its own.
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "evaluation/calibration.h"
#include "model/quantise_checkpoint.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{64} << 20;

// Nothing without --calibrate.
Result<std::unique_ptr<Calibration>> open_calibration(const CommandLine& options,
                                                      const std::string& from,
                                                      const WeightChoice& choice) {
  const std::string path = options.get_text("calibrate");
  if (path.empty()) {
    if (options.is_set("calibrate-tokens")) {
      return usage_error("--calibrate-tokens is of a calibration: name its text with --calibrate");
    }
    return std::unique_ptr<Calibration>();
  }
  ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxTextBytes, ErrorKind::kUsage));
  ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::open(from));
  ASSIGN_OR_RETURN(const auto builder, load_prompt_builder(*checkpoint));
  std::vector<int32_t> tokens = builder->raw(text);
  const auto most = static_cast<size_t>(options.get_int("calibrate-tokens"));
  if (tokens.size() > most) tokens.resize(most);
  return Calibration::open(std::move(checkpoint), choice, tokens, {});
}

std::string summary(const Calibration& calibration) {
  const LayerError& last = calibration.errors().back();
  return cat("calibrated: the last layer's outputs are off by ",
             fixed(100 * std::sqrt(last.calibrated), 2), " % of their size; rounded plainly by ",
             fixed(100 * std::sqrt(last.plain), 2), " %\n");
}

Json errors_json(const Calibration& calibration) {
  Json layers = Json::array();
  for (const LayerError& error : calibration.errors()) {
    layers.push_back(Json::object().set("plain", error.plain).set("calibrated", error.calibrated));
  }
  return layers;
}

}  // namespace

Status quantize_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(const std::string from, model_path(options));
  const std::string to = options.get_text("output");
  if (to.empty()) return usage_error("where to: lserve quantize MODEL --weights FORMAT -o DIR");
  const WeightChoice choice = weight_choice(options);
  RETURN_IF_ERROR(check_quantisation(from, choice, to));
  ASSIGN_OR_RETURN(const auto calibration, open_calibration(options, from, choice));
  QuantisedFiles files;
  {
    const InterruptScope interrupt;
    Progress progress("convert", Progress::Unit::kBytes);
    const auto report = [&](uint64_t done, uint64_t total) {
      progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
      return interrupt.flag()->load() ? Status::error(ErrorKind::kInterrupted, "interrupted")
                                      : Status();
    };
    ASSIGN_OR_RETURN(files, quantise_checkpoint(from, choice, to, report, calibration.get()));
  }
  if (options.get_flag("json")) {
    Json json = Json::object()
                    .set("directory", to)
                    .set("weights", describe(choice))
                    .set("matrices", files.matrices)
                    .set("bytes_before", static_cast<int64_t>(files.bytes_before))
                    .set("bytes", static_cast<int64_t>(files.bytes))
                    .set("copied_files", files.files);
    if (calibration) json.set("layer_errors", errors_json(*calibration));
    print(json.dump() + "\n");
    return {};
  }
  print(cat(to, ": ", files.matrices, " matrices in ", describe(choice), ", ",
            human_bytes(files.bytes), " of ", human_bytes(files.bytes_before), "; ", files.files,
            " other files copied\n"));
  if (calibration) print(summary(*calibration));
  return {};
}

}  // namespace lserve
