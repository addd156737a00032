#include "cli/kv_files.h"

#include <chrono>
#include <utility>

#include "base/atomic_file.h"
#include "base/log.h"
#include "base/strings.h"
#include "engine/kv_snapshot.h"

namespace lserve {

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void report_restored(const RestoredKv& restored, const KvFileReader& file, Engine& engine,
                     double ms) {
  const int64_t tokens = restored.restored_tokens();
  if (tokens == 0) {
    log_warning(cat(file.path(), ": ", with_separators(restored.shared_tokens), " of its ",
                    with_separators(restored.file_tokens),
                    " tokens begin this prompt, too few to go on from: computing all of it"));
    return;
  }
  log_info(cat("restored   ", with_separators(tokens), " of ",
               with_separators(restored.file_tokens), " tokens from ", file.path(), " in ",
               fixed(ms / 1000, 2), " s"));
  if (!restored.same_arithmetic) {
    log_warning(cat(file.path(), " was computed by ", quoted(file.head().arithmetic),
                    ", this run computes by ", engine.backend().arithmetic(),
                    ": the answer may differ in rounding from one without the file"));
  }
}

}  // namespace

bool KvFiles::are_named(const CommandLine& options) {
  return options.is_set("kv-load") || options.is_set("kv-save");
}

Result<KvFiles> KvFiles::open(const CommandLine& options) {
  KvFiles files;
  files.target_ = options.get_text("kv-save");
  // Hours of work must not end at a folder that is not there.
  if (!files.target_.empty()) RETURN_IF_ERROR(AtomicFile::create(files.target_).status());
  if (options.is_set("kv-load")) {
    ASSIGN_OR_RETURN(files.source_, KvFileReader::open(options.get_text("kv-load")));
  }
  if (are_named(options)) files.report_ = Json::object();
  return files;
}

Result<Sequence> KvFiles::restore(Engine& engine, std::span<const int32_t> prompt) {
  if (!source_) return engine.new_sequence();
  const auto start = Clock::now();
  ASSIGN_OR_RETURN(RestoredKv restored, restore_kv(engine, *source_, prompt));
  const double ms = ms_since(start);
  report_restored(restored, *source_, engine, ms);
  report_.set("restored_tokens", restored.restored_tokens()).set("restore_ms", ms);
  return std::move(restored.sequence);
}

void KvFiles::save(Engine& engine, const Sequence& sequence) {
  if (target_.empty()) return;
  const auto start = Clock::now();
  const Result<SavedKv> saved = save_kv(engine, sequence, target_);
  if (!saved.ok()) {
    status_ = saved.status();
    return;
  }
  const double ms = ms_since(start);
  log_info(cat("saved      ", with_separators(saved->tokens), " tokens to ", target_, " (",
               human_bytes(saved->bytes), ") in ", fixed(ms / 1000, 2), " s"));
  report_.set("saved_tokens", saved->tokens).set("save_ms", ms);
}

Json KvFiles::json() const { return report_; }

}  // namespace lserve
