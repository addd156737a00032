// What a device can do at most, measured in the process whose figures are held against it
// (Backend::measure_ceilings). A speed says little without them: cards throttle, and machines are
// shared.
#pragma once

#include <algorithm>
#include <string>

#include "base/json.h"

namespace lserve {

// 0: not measured, or the device has no such thing.
struct Ceilings {
  double copy_gb_s = 0;     // from device memory to device memory: bytes read plus bytes written
  double read_gb_s = 0;     // reading memory that no cache holds
  double bf16_tflop_s = 0;  // products of bf16, summed in float32
  double fp32_tflop_s = 0;
  double int8_top_s = 0;

  // What the bytes of an operation are held against, and the products of one that multiplies bf16
  // where the device does, else float32.
  double memory_gb_s() const { return std::max(copy_gb_s, read_gb_s); }
  double product_tflop_s() const { return std::max(bf16_tflop_s, fp32_tflop_s); }
};

// kMemory: the speed of memory alone, which on a shared machine changes within seconds.
enum class CeilingParts { kAll, kMemory };

// "copy 3030 GB/s, bf16 760.1 TFLOP/s": those that are there.
std::string describe(const Ceilings& ceilings);
// {"copy_gb_s": 3030.2, ...}: those that are there.
Json to_json(const Ceilings& ceilings);

}  // namespace lserve
