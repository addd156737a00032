// How long one call takes, and what that is of what the device can do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "evaluation/kernel_bench/kernel_workload.h"
#include "kernels/ceilings.h"

namespace lserve {

enum class Timing {
  kCall,   // one call and the wait for it
  kQueue,  // calls that are queued one after the other, by the device's clock
  kGraph,  // calls in one graph, whose launch does not count: as in a decode step
};
const char* timing_name(Timing timing);

struct KernelTimes {
  std::vector<double> seconds;  // of one call, each a mean over `calls` that follow each other
  int64_t calls = 1;
  Timing timing = Timing::kCall;

  double median() const;
};

struct TimingOptions {
  int64_t repeats = 20;  // at least 1
  bool graphs = true;    // whether the backend has graphs, if it is a device
};

// On a device, by its own clock: `calls` calls in one graph, so many that they last 2 ms and work
// on every copy. On a host, and where the op cannot be in a graph, call by call. First runs are not
// counted. REQUIRES: a backend that nothing was measured on: it has one graph.
KernelTimes measure_kernel(Backend& backend, const PreparedKernel& kernel,
                           const TimingOptions& options);

// One line of the table.
struct KernelFigure {
  std::string op;
  std::string what;
  std::string does_not_fit;  // why nothing was measured
  double bytes = 0;
  double operations = 0;
  std::vector<KernelCount> counts;
  KernelTimes times;
  // Of a vendor's kernel in the same process, where one was run; `vendor` says which, or why not.
  std::string vendor;
  double vendor_seconds = 0;

  double gb_s() const { return bytes / times.median() * 1e-9; }
  double tflop_s() const { return operations / times.median() * 1e-12; }
  double of_memory(const Ceilings& ceilings) const;  // 0: the ceiling is not known
  double of_products(const Ceilings& ceilings) const;
  double vendor_ratio() const;  // how many times as fast as the vendor's; 0: not measured
};

// Prepares the workload, measures it, and lets its memory go. kMemory is no error but a figure that
// says so.
Result<KernelFigure> measure_workload(Backend& backend, const KernelWorkload& workload,
                                      const TimingOptions& options);

// A table in Markdown, as llama-bench has it; with vendors' times or without. What was counted
// besides bytes and operations comes last.
std::string table_head(bool with_vendor);
std::string table_row(const KernelFigure& figure, const Ceilings& ceilings, bool with_vendor);
Json to_json(const KernelFigure& figure, const Ceilings& ceilings);

}  // namespace lserve
