// lserve bench kernel: what single operations take, in parts of what the device can do.
#include <utility>

#include "base/json.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/options_kernel.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "evaluation/kernel_bench/kernel_times.h"

namespace lserve {

Status kernel_verb(CommandLine& options) {
  BackendOptions chosen = backend_options(options);
  ASSIGN_OR_RETURN(const KernelWorkloads workloads, kernel_workloads(kernel_cases(options)));
  ASSIGN_OR_RETURN(auto backend, open_backend(options, &chosen));
  const std::string device = backend->describe();
  ASSIGN_OR_RETURN(const Ceilings ceilings, backend->measure_ceilings(CeilingParts::kAll));
  const bool json = options.get_flag("json");
  if (!json) {
    print(cat(device, "\nshape ", options.get_text("shape"), "; ceilings: ", describe(ceilings),
              "\n\n", table_head(/*with_vendor=*/false)));
  }
  const TimingOptions timing{options.get_int("repetitions"), !options.get_flag("no-cuda-graphs")};
  Json figures = Json::array();
  bool any_fits = false;
  std::string why_not;
  for (const KernelWorkload& workload : workloads) {
    // A backend reserves what operations need besides once, so each workload has its own.
    backend.reset();
    ASSIGN_OR_RETURN(backend, make_backend(chosen));
    ASSIGN_OR_RETURN(const KernelFigure figure, measure_workload(*backend, workload, timing));
    any_fits |= figure.does_not_fit.empty();
    why_not = cat(figure.op, ", ", figure.what, ": ", figure.does_not_fit);
    if (!json) print(table_row(figure, ceilings, /*with_vendor=*/false));
    figures.push_back(to_json(figure, ceilings));
  }
  if (json) {
    print(Json::object()
              .set("device", device)
              .set("shape", options.get_text("shape"))
              .set("ceilings", to_json(ceilings))
              .set("figures", std::move(figures))
              .dump(2) +
          "\n");
  }
  return any_fits ? Status() : memory_error(why_not);
}

}  // namespace lserve
