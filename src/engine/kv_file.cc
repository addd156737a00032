#include "engine/kv_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "base/checked_math.h"
#include "base/hash.h"
#include "base/strings.h"
#include "checkpoint/byte_cursor.h"

namespace lserve {

namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr std::array<char, 8> kMagic = {'L', 'S', 'E', 'R', 'V', 'E', 'K', 'V'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMaxHeadBytes = 1 << 16;
constexpr uint64_t kMaxFields = 64;
constexpr uint64_t kPreludeBytes = kMagic.size() + 2 * sizeof(uint32_t);  // magic, version, length
constexpr uint64_t kChecksumBytes = sizeof(uint64_t);
constexpr uint64_t kMaxPages = uint64_t{1} << 31;
constexpr uint64_t kMaxRecordBytes = uint64_t{1} << 40;
// What is hashed with what, so that no part can stand in another's place. Records count from 0.
constexpr uint64_t kHeadSeed = ~uint64_t{0};
constexpr uint64_t kTokensSeed = ~uint64_t{1};

template <typename T>
void append(std::vector<std::byte>& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

void append_text(std::vector<std::byte>& out, const std::string& text) {
  append(out, uint64_t{text.size()});
  const auto bytes = std::as_bytes(std::span(text));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> encode(const KvFileHead& head) {
  std::vector<std::byte> out;
  for (const char c : kMagic) append(out, c);
  append(out, kVersion);
  append(out, uint32_t{0});  // the length, known below
  for (const int64_t number : {head.num_pages, head.sink_pages, head.window_page,
                               head.record_bytes[0], head.record_bytes[1]}) {
    append(out, static_cast<uint64_t>(number));
  }
  append_text(out, head.arithmetic);
  append(out, uint64_t{head.fields.size()});
  for (const KvFileField& field : head.fields) {
    append_text(out, field.name);
    append_text(out, field.value);
  }
  const auto length = static_cast<uint32_t>(out.size() + kChecksumBytes);
  CHECK_LE(uint64_t{length}, kMaxHeadBytes);
  std::memcpy(out.data() + kPreludeBytes - sizeof(length), &length, sizeof(length));
  append(out, hash64(out, kHeadSeed));
  return out;
}

Status read_number(ByteCursor& cursor, uint64_t max, const char* what, int64_t* out) {
  ASSIGN_OR_RETURN(const auto number, cursor.read<uint64_t>(what));
  if (number > max) return cursor.error(what, cat(number, ", at most ", max, " is possible"));
  *out = static_cast<int64_t>(number);
  return {};
}

// What lies between the prelude and the checksum.
Status decode(ByteCursor& cursor, KvFileHead* head) {
  RETURN_IF_ERROR(read_number(cursor, kMaxPages, "number of pages", &head->num_pages));
  const auto pages = static_cast<uint64_t>(head->num_pages);
  RETURN_IF_ERROR(read_number(cursor, pages, "first page of the window", &head->sink_pages));
  RETURN_IF_ERROR(read_number(cursor, pages, "first page of the window", &head->window_page));
  if (head->sink_pages > head->window_page) {
    return cursor.error("first page of the window", "inside the sink");
  }
  for (int64_t& bytes : head->record_bytes) {
    RETURN_IF_ERROR(read_number(cursor, kMaxRecordBytes, "bytes of a page", &bytes));
  }
  ASSIGN_OR_RETURN(head->arithmetic, cursor.read_string(cursor.remaining(), "device"));
  int64_t num_fields = 0;
  RETURN_IF_ERROR(read_number(cursor, kMaxFields, "number of fields", &num_fields));
  for (int64_t i = 0; i < num_fields; ++i) {
    KvFileField field;
    ASSIGN_OR_RETURN(field.name, cursor.read_string(cursor.remaining(), "name of a field"));
    ASSIGN_OR_RETURN(field.value, cursor.read_string(cursor.remaining(), "value of a field"));
    head->fields.push_back(std::move(field));
  }
  if (cursor.remaining() != kChecksumBytes) return cursor.error("head", "has the wrong length");
  return {};
}

uint64_t token_bytes(const KvFileHead& head) {
  return static_cast<uint64_t>(head.num_tokens()) * sizeof(int32_t);
}

// What the head says the size of the file is; empty if that overflows.
std::optional<uint64_t> expected_size(const KvFileHead& head, uint64_t head_bytes) {
  std::optional<uint64_t> total = head_bytes + token_bytes(head) + kChecksumBytes;
  for (size_t which = 0; which < kNumKvRecords; ++which) {
    const auto bytes =
        checked_mul(static_cast<uint64_t>(head.num_records(which)),
                    static_cast<uint64_t>(head.record_bytes[which]) + kChecksumBytes);
    if (!bytes || !total) return std::nullopt;
    total = checked_add(*total, *bytes);
  }
  return total;
}

}  // namespace

bool KvFileHead::has_record(size_t which, int64_t page_idx) const {
  if (record_bytes[which] == 0) return false;
  return which == 0 || page_idx < sink_pages || page_idx >= window_page;
}

int64_t KvFileHead::num_records(size_t which) const {
  if (record_bytes[which] == 0) return 0;
  return which == 0 ? num_pages : sink_pages + (num_pages - window_page);
}

Result<KvFileWriter> KvFileWriter::create(const std::string& path, const KvFileHead& head,
                                          std::span<const int32_t> tokens) {
  CHECK_EQ(static_cast<int64_t>(tokens.size()), head.num_tokens());
  CHECK(head.sink_pages <= head.window_page && head.window_page <= head.num_pages);
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  KvFileWriter writer(std::move(file), head.num_records(0) + head.num_records(1));
  RETURN_IF_ERROR(writer.file_.write(encode(head)));
  RETURN_IF_ERROR(writer.write_checked(std::as_bytes(tokens), kTokensSeed));
  return writer;
}

Status KvFileWriter::write_checked(std::span<const std::byte> bytes, uint64_t seed) {
  RETURN_IF_ERROR(file_.write(bytes));
  const uint64_t checksum = hash64(bytes, seed);
  return file_.write(std::as_bytes(std::span(&checksum, 1)));
}

Status KvFileWriter::write_record(std::span<const std::byte> record) {
  CHECK_GT(records_left_, 0);
  --records_left_;
  return write_checked(record, next_record_++);
}

Status KvFileWriter::commit() {
  CHECK_EQ(records_left_, 0);
  return file_.commit();
}

Result<KvFileReader> KvFileReader::open(const std::string& path) {
  ASSIGN_OR_RETURN(File file, File::open(path));
  KvFileReader reader(std::move(file));
  RETURN_IF_ERROR(reader.read_head());
  RETURN_IF_ERROR(reader.check_size());
  reader.next_offset_ = reader.head_bytes_ + token_bytes(reader.head_) + kChecksumBytes;
  return reader;
}

Status KvFileReader::damaged(const std::string& what) const {
  return model_error(cat(path(), ": ", what, "; save it again with --kv-save"));
}

Status KvFileReader::read_head() {
  std::array<std::byte, kPreludeBytes> prelude{};
  const bool is_long_enough = file_.size() >= prelude.size();
  if (is_long_enough) RETURN_IF_ERROR(file_.read_at(0, prelude));
  if (!is_long_enough || std::memcmp(prelude.data(), kMagic.data(), kMagic.size()) != 0) {
    return model_error(cat(path(), ": not a KV file (--kv-save writes them)"));
  }
  std::array<uint32_t, 2> numbers{};  // version, bytes of the head
  std::memcpy(numbers.data(), prelude.data() + kMagic.size(), sizeof(numbers));
  if (numbers[0] != kVersion) {
    return damaged(cat("KV file version ", numbers[0], ", this program reads ", kVersion));
  }
  head_bytes_ = numbers[1];
  if (head_bytes_ < prelude.size() + kChecksumBytes || head_bytes_ > kMaxHeadBytes ||
      head_bytes_ > file_.size()) {
    return damaged("the head is damaged or cut");
  }
  std::vector<std::byte> bytes(head_bytes_ - kChecksumBytes);
  RETURN_IF_ERROR(read_checked(0, kHeadSeed, "the head", bytes));
  ByteCursor cursor(file_, head_bytes_);
  RETURN_IF_ERROR(cursor.read_bytes(prelude, "head"));
  return decode(cursor, &head_);
}

Status KvFileReader::check_size() const {
  const std::optional<uint64_t> expected = expected_size(head_, head_bytes_);
  if (expected == file_.size()) return {};
  return damaged(cat("the file has ", file_.size(), " bytes, its head says ",
                     expected ? cat(*expected) : "more than any file has",
                     expected && *expected > file_.size() ? ": it was cut" : ""));
}

Status KvFileReader::read_checked(uint64_t offset, uint64_t seed, const char* what,
                                  std::span<std::byte> bytes) const {
  RETURN_IF_ERROR(file_.read_at(offset, bytes));
  uint64_t checksum = 0;
  RETURN_IF_ERROR(
      file_.read_at(offset + bytes.size(), std::as_writable_bytes(std::span(&checksum, 1))));
  if (checksum == hash64(bytes, seed)) return {};
  return damaged(cat("damaged: the checksum of ", what, " at byte ", offset, " is wrong"));
}

Result<std::vector<int32_t>> KvFileReader::read_tokens() const {
  std::vector<int32_t> tokens(static_cast<size_t>(head_.num_tokens()));
  RETURN_IF_ERROR(read_checked(head_bytes_, kTokensSeed, "the tokens",
                               std::as_writable_bytes(std::span(tokens))));
  return tokens;
}

Status KvFileReader::read_record(std::span<std::byte> record) {
  RETURN_IF_ERROR(read_checked(next_offset_, next_record_++, "a page", record));
  next_offset_ += record.size() + kChecksumBytes;
  return {};
}

}  // namespace lserve
