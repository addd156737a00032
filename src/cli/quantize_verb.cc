// lserve quantize: a model with low-bit weights, as a directory of its own.
#include "base/json.h"
#include "base/log.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "model/quantise_checkpoint.h"

namespace lserve {

Status quantize_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(const std::string from, model_path(options));
  const std::string to = options.get_text("output");
  if (to.empty()) return usage_error("where to: lserve quantize MODEL --weights FORMAT -o DIR");
  const WeightChoice choice = weight_choice(options);
  QuantisedFiles files;
  {
    Progress progress("convert", Progress::Unit::kBytes);
    ASSIGN_OR_RETURN(files,
                     quantise_checkpoint(from, choice, to, [&](uint64_t done, uint64_t total) {
                       progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
                     }));
  }
  if (options.get_flag("json")) {
    print(Json::object()
              .set("directory", to)
              .set("weights", describe(choice))
              .set("matrices", files.matrices)
              .set("bytes_before", static_cast<int64_t>(files.bytes_before))
              .set("bytes", static_cast<int64_t>(files.bytes))
              .set("copied_files", files.files)
              .dump() +
          "\n");
    return {};
  }
  print(cat(to, ": ", files.matrices, " matrices in ", describe(choice), ", ",
            human_bytes(files.bytes), " of ", human_bytes(files.bytes_before), "; ", files.files,
            " other files copied\n"));
  return {};
}

}  // namespace lserve
