// The form of a KV file: a checked head, tokens, and pages as opaque bytes.
// docs/contracts/kv_file.md
//
// Knows nothing of the engine (kv_snapshot.h fills and reads it). A file is untrusted: nothing is
// allocated that its real size does not cover, and every byte of it lies under some checksum.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/file.h"
#include "base/status.h"

namespace lserve {

// One thing that must be the same where the file is saved and where it is used.
struct KvFileField {
  std::string name;   // "head pattern"
  std::string value;  // for people, and compared as text
  bool operator==(const KvFileField&) const = default;
};

inline constexpr int64_t kKvFilePageTokens = 64;
inline constexpr size_t kNumKvRecords = 2;  // of a page: its retrieval heads, its streaming heads

struct KvFileHead {
  std::vector<KvFileField> fields;
  std::string arithmetic;  // what computed it: does not bind, but explains other rounding
  int64_t num_pages = 0;   // full pages; the file holds 64 tokens for each
  // Streaming heads: the pages [0, sink_pages) and [window_page, num_pages) are there.
  int64_t sink_pages = 0;
  int64_t window_page = 0;
  std::array<int64_t, kNumKvRecords> record_bytes{};  // 0: no such heads

  int64_t num_tokens() const { return num_pages * kKvFilePageTokens; }
  bool has_record(size_t which, int64_t page_idx) const;
  int64_t num_records(size_t which) const;
};

// Writes a file from front to back. Errors are kRuntime; until commit() the old file stays.
class KvFileWriter {
 public:
  // REQUIRES: tokens.size() == head.num_tokens(); sink_pages <= window_page <= num_pages.
  static Result<KvFileWriter> create(const std::string& path, const KvFileHead& head,
                                     std::span<const int32_t> tokens);
  // The records in the order of the pages, a page's retrieval heads first; those that has_record().
  // REQUIRES: record.size() == record_bytes of its kind.
  Status write_record(std::span<const std::byte> record);
  // REQUIRES: all records were written.
  Status commit();
  uint64_t size() const { return file_.size(); }

 private:
  KvFileWriter(AtomicFile file, int64_t records_left)
      : file_(std::move(file)), records_left_(records_left) {}
  // The bytes and their checksum.
  Status write_checked(std::span<const std::byte> bytes, uint64_t seed);

  AtomicFile file_;
  int64_t records_left_;
  uint64_t next_record_ = 0;
};

// Reads it in the same order. Errors are kModel: damaged, cut, of another version.
class KvFileReader {
 public:
  // Reads and checks the head, and the size of the file against it.
  static Result<KvFileReader> open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const KvFileHead& head() const { return head_; }
  uint64_t size() const { return file_.size(); }
  Result<std::vector<int32_t>> read_tokens() const;
  // The next record. REQUIRES: there is one, and record.size() is its size.
  Status read_record(std::span<std::byte> record);
  // Whether the file is still the one that was opened. Call it after the last record.
  Status verify_unchanged() const { return file_.verify_unchanged(); }

 private:
  explicit KvFileReader(File file) : file_(std::move(file)) {}
  Status read_head();
  Status check_size() const;
  Status read_checked(uint64_t offset, uint64_t seed, const char* what,
                      std::span<std::byte> bytes) const;
  Status damaged(const std::string& what) const;

  File file_;
  KvFileHead head_;
  uint64_t head_bytes_ = 0;
  uint64_t next_offset_ = 0;  // of the next record
  uint64_t next_record_ = 0;
};

}  // namespace lserve
