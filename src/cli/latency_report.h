// What `lserve bench latency` measured, for people and for programs.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "evaluation/latency.h"
#include "kernels/ceilings.h"

namespace lserve {

// What the columns of every row say of the model and the device.
struct LatencySubject {
  std::string model;    // its file's name
  std::string backend;  // "cpu"
  int64_t num_parameters = 0;
};

struct LatencyFigure {
  std::string attention;
  int64_t weight_bytes = 0;  // in the backend's memory
  Latency latency;
  std::string does_not_fit;  // why nothing was measured
};

Json to_json(const LatencyFigure& figure, const Ceilings& ceilings);

// A table in the look of llama-bench: a row for a prompt (pp8192), one for the decode steps after
// it (tg32 @ d8192, x 4 for a batch of 4), with medians, and the spread of the times.
std::string latency_table_head();
std::string latency_table_rows(const LatencySubject& subject, const LatencyFigure& figure,
                               const Ceilings& ceilings);
// Where the time of it goes, by operation, beside what each has to read, write and multiply at
// least, and the time that this takes by the ceilings as a part of its time; "" if it was not asked
// for.
std::string latency_op_tables(const Latency& latency, const Ceilings& ceilings);

}  // namespace lserve
