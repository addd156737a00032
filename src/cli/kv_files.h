// --kv-load and --kv-save of lserve run: a prompt's keys and values from one run to another.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "cli/options.h"
#include "engine/engine.h"
#include "engine/kv_file.h"

namespace lserve {

class KvFiles {
 public:
  // Before weights are read: opens the one file, and tries whether the other can be written.
  // kModel, kRuntime.
  static Result<KvFiles> open(const CommandLine& options);
  // Whether the options ask for either.
  static bool are_named(const CommandLine& options);

  // A new sequence, with what --kv-load can give of the prompt; says so, or warns that it is
  // nothing. kModel: damaged, or of another model or setting.
  Result<Sequence> restore(Engine& engine, std::span<const int32_t> prompt);
  // Writes --kv-save, if asked for. A failure is kept for status(): the answer is worth having.
  void save(Engine& engine, const Sequence& sequence);
  const Status& status() const { return status_; }

  // "kv_file" of the answer: tokens and times; null if no file is named.
  Json json() const;

 private:
  std::optional<KvFileReader> source_;
  std::string target_;  // "": none
  Status status_;
  Json report_;
};

}  // namespace lserve
