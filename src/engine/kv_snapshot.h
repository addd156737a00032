// A sequence's keys and values saved to a file, and a sequence that goes on from there.
//
// Only full pages are kept, which are immutable; a run resumes at a page boundary and computes the
// rest of its prompt anew. Chunking never changes a result, so the answer is that of a cold run,
// token for token. In dense and pages mode every boundary serves; streaming heads have dropped what
// lies before their window, so with them only those in the last resume_tokens (EngineConfig) of the
// saved sequence do. Contract: docs/contracts/kv_file.md
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/kv_file.h"

namespace lserve {

// Enough for any question after a document (system.md 5).
inline constexpr int64_t kResumeTokens = 4096;

// Everything that changes a sequence's keys and values, or how they are stored: a file is used only
// where all of it is the same. What only decides which pages are read (the budget) is not in it.
std::vector<KvFileField> kv_identity(const Engine& engine);

struct SavedKv {
  int64_t tokens = 0;
  uint64_t bytes = 0;  // of the file
};
// Writes the sequence's full pages. kRuntime: the file cannot be written; an old one is still
// there.
Result<SavedKv> save_kv(Engine& engine, const Sequence& sequence, const std::string& path);

struct RestoredKv {
  Sequence sequence;          // the first restored_tokens() of the prompt
  int64_t shared_tokens = 0;  // how many of the prompt's first tokens are the file's
  int64_t file_tokens = 0;
  bool same_arithmetic = true;  // else a cold run may round otherwise

  int64_t restored_tokens() const { return sequence.kv_len(); }
};
// As much of the prompt as the file can give, one token less than all of it at most; an empty
// sequence if that is nothing. kModel: the file is damaged, or kv_identity() differs (by name).
// REQUIRES: the reader was just opened; the prompt fits the context; no other sequence holds pages.
Result<RestoredKv> restore_kv(Engine& engine, KvFileReader& file, std::span<const int32_t> prompt);

}  // namespace lserve
