#include "evaluation/kernel_bench/kernel_times.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "evaluation/latency.h"

namespace lserve {

namespace {

constexpr double kLeastSeconds = 2e-3;  // of what is timed on a device
constexpr int64_t kMostCalls = 8192;
constexpr int kWarmUps = 2;
constexpr uint64_t kGraphKey = 0x6B65726E656C;

void run_calls(const PreparedKernel& kernel, int64_t calls) {
  for (int64_t i = 0; i < calls; ++i) kernel.run(i % kernel.copies);
}

// Between two moments on the backend's own clock.
double timed(Backend& backend, FunctionRef<void()> operations) {
  backend.note_moment(0);
  operations();
  backend.note_moment(1);
  backend.synchronize();
  return backend.seconds_between(0, 1);
}

KernelTimes measure_device(Backend& backend, const PreparedKernel& kernel, double once,
                           const TimingOptions& options) {
  KernelTimes times;
  times.timing = options.graphs ? Timing::kGraph : Timing::kQueue;
  const auto enough = static_cast<int64_t>(std::ceil(kLeastSeconds / std::max(once, 1e-7)));
  times.calls = std::min(std::max(enough, kernel.copies), kMostCalls);
  for (int64_t i = 0; i < kWarmUps + options.repeats; ++i) {
    backend.run_graph(kGraphKey, [&] {
      backend.note_moment(0);
      run_calls(kernel, times.calls);
      backend.note_moment(1);
    });
    backend.synchronize();
    const double seconds = backend.seconds_between(0, 1);
    if (i >= kWarmUps) times.seconds.push_back(seconds / static_cast<double>(times.calls));
  }
  return times;
}

// "blocks_read 2,080, blocks_of_dense 4,160".
std::string counts_text(const std::vector<KernelCount>& counts) {
  std::string text;
  for (const KernelCount& count : counts) {
    text += cat(text.empty() ? "" : ", ", count.name, " ",
                with_separators(static_cast<int64_t>(count.value)));
  }
  return text.empty() ? "-" : text;
}

std::string percent(double part) { return part > 0 ? cat(fixed(100 * part, 1), "%") : "-"; }

}  // namespace

double KernelTimes::median() const { return quantile(seconds, 0.5); }

const char* timing_name(Timing timing) {
  switch (timing) {
    case Timing::kCall:
      return "call";
    case Timing::kQueue:
      return "queue";
    case Timing::kGraph:
      return "graph";
  }
  return "?";
}

KernelTimes measure_kernel(Backend& backend, const PreparedKernel& kernel,
                           const TimingOptions& options) {
  CHECK_GE(options.repeats, 1);
  // The first call touches memory and loads code; the next tells how many more a round may take.
  timed(backend, [&] { kernel.run(0); });
  const double once = timed(backend, [&] { kernel.run(kernel.copies - 1); });
  if (kernel.in_graph && !backend.is_host_memory()) {
    return measure_device(backend, kernel, once, options);
  }
  KernelTimes times;
  for (int64_t i = 0; i < kernel.copies && static_cast<double>(i) * once < 0.2; ++i) kernel.run(i);
  backend.synchronize();
  for (int64_t i = 0; i < options.repeats; ++i) {
    times.seconds.push_back(timed(backend, [&] { kernel.run(i % kernel.copies); }));
  }
  return times;
}

double KernelFigure::of_memory(const Ceilings& ceilings) const {
  return ceilings.memory_gb_s() > 0 ? gb_s() / ceilings.memory_gb_s() : 0;
}
double KernelFigure::of_products(const Ceilings& ceilings) const {
  return ceilings.product_tflop_s() > 0 ? tflop_s() / ceilings.product_tflop_s() : 0;
}
double KernelFigure::vendor_ratio() const {
  return vendor_seconds > 0 ? vendor_seconds / times.median() : 0;
}

Result<KernelFigure> measure_workload(Backend& backend, const KernelWorkload& workload,
                                      const TimingOptions& options) {
  KernelFigure figure;
  figure.op = workload.op;
  figure.what = workload.what;
  const Result<PreparedKernel> kernel = workload.prepare(backend);
  if (!kernel.ok()) {
    if (kernel.status().kind() != ErrorKind::kMemory) return kernel.status();
    figure.does_not_fit = kernel.status().message();
    return figure;
  }
  figure.bytes = kernel->bytes;
  figure.operations = kernel->operations;
  figure.counts = kernel->counts;
  figure.times = measure_kernel(backend, *kernel, options);
  return figure;
}

std::string table_head(bool with_vendor) {
  const char* const vendor = with_vendor ? " vendor | vendor us | ratio |" : "";
  const char* const rule = with_vendor ? "---|---|---|" : "";
  return cat("| op | case | us | p99 | min | max | GB/s | of memory | TFLOP/s | of products |",
             vendor, " counted |\n|---|---|---|---|---|---|---|---|---|---|", rule, "---|\n");
}

std::string table_row(const KernelFigure& figure, const Ceilings& ceilings, bool with_vendor) {
  const std::string begin = cat("| ", figure.op, " | ", figure.what, " | ");
  if (!figure.does_not_fit.empty()) {
    return cat(begin, figure.does_not_fit, " | | | | | | | | |", with_vendor ? " | | |" : "", "\n");
  }
  const auto us = [&](double q) {
    return cat(fixed(quantile(figure.times.seconds, q) * 1e6, 2), " | ");
  };
  std::string row = cat(begin, us(0.5), us(0.99), us(0), us(1), fixed(figure.gb_s(), 1), " | ",
                        percent(figure.of_memory(ceilings)), " | ", fixed(figure.tflop_s(), 2),
                        " | ", percent(figure.of_products(ceilings)), " |");
  if (with_vendor) {
    const double ratio = figure.vendor_ratio();
    row += cat(" ", figure.vendor.empty() ? "-" : figure.vendor, " | ",
               ratio > 0 ? fixed(figure.vendor_seconds * 1e6, 2) : "-", " | ",
               ratio > 0 ? cat(fixed(ratio, 2), "x") : "-", " |");
  }
  return cat(row, " ", counts_text(figure.counts), " |\n");
}

Json to_json(const KernelFigure& figure, const Ceilings& ceilings) {
  Json json = Json::object().set("op", figure.op).set("case", figure.what);
  if (!figure.does_not_fit.empty()) return json.set("does_not_fit", figure.does_not_fit);
  const auto us = [&](double q) { return quantile(figure.times.seconds, q) * 1e6; };
  json.set("us_median", us(0.5))
      .set("us_p99", us(0.99))
      .set("us_min", us(0))
      .set("us_max", us(1))
      .set("bytes", figure.bytes)
      .set("operations", figure.operations)
      .set("gb_s", figure.gb_s())
      .set("tflop_s", figure.tflop_s())
      .set("timed", timing_name(figure.times.timing))
      .set("calls", figure.times.calls);
  if (const double part = figure.of_memory(ceilings); part > 0) json.set("of_memory", part);
  if (const double part = figure.of_products(ceilings); part > 0) json.set("of_products", part);
  for (const KernelCount& count : figure.counts) json.set(count.name, count.value);
  if (!figure.vendor.empty()) json.set("vendor", figure.vendor);
  if (figure.vendor_seconds > 0) {
    json.set("vendor_us", figure.vendor_seconds * 1e6).set("vendor_ratio", figure.vendor_ratio());
  }
  return json;
}

}  // namespace lserve
