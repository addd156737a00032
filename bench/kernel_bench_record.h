// The record that documents quote (CONTRIBUTING.md, "Figures"): what all of kernel_bench's have.
#pragma once

#include <string>

#include "base/json.h"
#include "base/status.h"
#include "kernels/ceilings.h"

namespace lserve::bench {

struct RecordHead {
  std::string name;    // "cpu_kernels"
  std::string device;  // for people
  std::string driver;
  std::string commit;
  std::string command;  // without the names of files
  int64_t seed = 0;
  Json does_not_fit = Json::object();  // metric: why it has no figure
};

// Of the kernel of a host, or of a GPU.
std::string system_release();
std::string gpu_driver();

// Dated today. kRuntime.
Status write_record(const std::string& path, const RecordHead& head, const Ceilings& ceilings,
                    Json figures);

// A metric with its value, unit, and the values that one in ten measurements lies beyond.
Json figure(const std::string& metric, double value, const std::string& unit, double low,
            double high);

}  // namespace lserve::bench
