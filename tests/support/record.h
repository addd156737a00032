// A record of what a test measured, in the form of bench/results (CONTRIBUTING.md).
//
// Nothing is written unless LSERVE_RECORD names a directory; LSERVE_COMMIT then names the commit.
#pragma once

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/json.h"

namespace lserve::test {

class Record {
 public:
  Record(std::string name, std::string command)
      : name_(std::move(name)), command_(std::move(command)) {}

  // Where it was measured, unless on the processor.
  void set_device(std::string device) { device_ = std::move(device); }

  // A figure without a bar.
  void add(const std::string& metric, double value, const std::string& unit) {
    figures_.push_back(figure(metric, value, unit));
  }
  void add(const std::string& metric, double value, const std::string& unit,
           const std::string& limit, bool holds) {
    figures_.push_back(figure(metric, value, unit).set("limit", limit).set("holds", holds));
  }

  // Written when the program ends.
  ~Record() {
    const char* directory = std::getenv("LSERVE_RECORD");
    const char* commit = std::getenv("LSERVE_COMMIT");
    if (directory == nullptr || figures_.as_array().empty()) return;
    std::ofstream(std::string(directory) + "/" + name_ + ".json")
        << Json::object()
               .set("name", name_)
               .set("device", device_.empty() ? processor() : device_)
               .set("commit", commit != nullptr ? commit : "unknown")
               .set("date", today())
               .set("command", command_)
               .set("figures", figures_)
               .dump(1)
        << "\n";
  }

 private:
  static Json figure(const std::string& metric, double value, const std::string& unit) {
    return Json::object().set("metric", metric).set("value", value).set("unit", unit);
  }
  static std::string processor() {
    const auto info = read_file("/proc/cpuinfo", 1 << 20);
    const std::string key = "model name\t: ";
    const size_t at = info.ok() ? info->find(key) : std::string::npos;
    if (at == std::string::npos) return "unknown CPU";
    return info->substr(at + key.size(), info->find('\n', at) - at - key.size());
  }
  static std::string today() {
    const std::time_t now = std::time(nullptr);
    char text[16] = "";
    std::strftime(text, sizeof(text), "%Y-%m-%d", std::gmtime(&now));
    return text;
  }

  std::string name_;
  std::string command_;
  std::string device_;
  Json figures_ = Json::array();
};

}  // namespace lserve::test
