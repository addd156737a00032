#include "kernel_bench_record.h"

#include <sys/utsname.h>

#include <ctime>
#include <fstream>

#include "base/strings.h"

namespace lserve::bench {

namespace {

std::string today() {
  const std::time_t seconds = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[16];
  std::strftime(text, sizeof(text), "%Y-%m-%d", &utc);
  return text;
}

}  // namespace

std::string system_release() {
  utsname system{};
  return ::uname(&system) == 0 ? cat(system.sysname, " ", system.release) : "";
}

// "NVRM version: NVIDIA UNIX ... x86_64  580.95.05  Release Build ...": the first word of digits.
std::string gpu_driver() {
  std::ifstream file("/proc/driver/nvidia/version");
  for (std::string word; file >> word;) {
    if (word.find_first_not_of("0123456789.") == std::string::npos) return word;
  }
  return "unknown";
}

Status write_record(const std::string& path, const RecordHead& head, const Ceilings& ceilings,
                    Json figures) {
  Json record = Json::object()
                    .set("name", head.name)
                    .set("device", head.device)
                    .set("driver", head.driver)
                    .set("commit", head.commit)
                    .set("date", today())
                    .set("command", head.command)
                    .set("seed", head.seed)
                    .set("ceilings", to_json(ceilings));
  if (!head.does_not_fit.as_object().empty()) record.set("does_not_fit", head.does_not_fit);
  std::ofstream out(path);
  out << record.set("figures", std::move(figures)).dump(1) << "\n";
  if (!out.flush()) return runtime_error(cat("cannot write ", path));
  return {};
}

Json figure(const std::string& metric, double value, const std::string& unit, double low,
            double high) {
  return Json::object()
      .set("metric", metric)
      .set("value", value)
      .set("unit", unit)
      .set("spread", Json::Array{Json(low), Json(high)});
}

}  // namespace lserve::bench
