// The form of a KV file: what is written is read, and no damage goes unseen.
#include "engine/kv_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/hash.h"
#include "support/memory_file.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

// Five pages; of the streaming heads' pages, 0 is the sink and 3 and 4 the window.
KvFileHead small_head() {
  KvFileHead head;
  head.fields = {{"model", "tiny"}, {"head pattern", "some"}};
  head.arithmetic = "cpu";
  head.num_pages = 5;
  head.sink_pages = 1;
  head.window_page = 3;
  head.record_bytes = {24, 8};
  return head;
}

std::vector<std::byte> record_of(const KvFileHead& head, size_t which, int64_t page_idx) {
  return std::vector<std::byte>(static_cast<size_t>(head.record_bytes[which]),
                                std::byte(100 * which + static_cast<size_t>(page_idx)));
}

std::vector<int32_t> tokens_of(const KvFileHead& head) {
  std::vector<int32_t> tokens(static_cast<size_t>(head.num_tokens()));
  std::iota(tokens.begin(), tokens.end(), -7);
  return tokens;
}

std::string write(const KvFileHead& head) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/kv";
  auto file = KvFileWriter::create(path, head, tokens_of(head));
  CHECK(file.ok());
  for (int64_t page_idx = 0; page_idx < head.num_pages; ++page_idx) {
    for (size_t which = 0; which < kNumKvRecords; ++which) {
      if (!head.has_record(which, page_idx)) continue;
      CHECK(file->write_record(record_of(head, which, page_idx)).ok());
    }
  }
  CHECK(file->commit().ok());
  std::ifstream in(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  CHECK_EQ(bytes.size(), file->size());
  return bytes;
}

// Reads everything; compares with `expected` unless it is null.
Status read_all(const std::string& path, const KvFileHead* expected) {
  ASSIGN_OR_RETURN(KvFileReader file, KvFileReader::open(path));
  const KvFileHead& head = file.head();
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, file.read_tokens());
  if (expected != nullptr) {
    EXPECT_EQ(head.fields, expected->fields);
    EXPECT_EQ(head.arithmetic, expected->arithmetic);
    EXPECT_EQ(head.record_bytes, expected->record_bytes);
    EXPECT_EQ(tokens, tokens_of(*expected));
  }
  for (int64_t page_idx = 0; page_idx < head.num_pages; ++page_idx) {
    for (size_t which = 0; which < kNumKvRecords; ++which) {
      if (!head.has_record(which, page_idx)) continue;
      std::vector<std::byte> record(static_cast<size_t>(head.record_bytes[which]));
      RETURN_IF_ERROR(file.read_record(record));
      if (expected == nullptr) continue;
      EXPECT_EQ(record, record_of(*expected, which, page_idx));
    }
  }
  return file.verify_unchanged();
}

TEST(KvFile, ReadsBackWhatWasWritten) {
  MemoryFile file;
  KvFileHead head = small_head();
  EXPECT_EQ(head.num_records(0), 5);
  EXPECT_EQ(head.num_records(1), 3);
  EXPECT_TRUE(read_all(file.write(write(head)), &head).ok());
  head.record_bytes[1] = 0;  // no streaming heads
  EXPECT_EQ(head.num_records(1), 0);
  EXPECT_TRUE(read_all(file.write(write(head)), &head).ok());
  head.record_bytes = {0, 40};  // no others
  EXPECT_TRUE(read_all(file.write(write(head)), &head).ok());
  head.num_pages = head.sink_pages = head.window_page = 0;
  EXPECT_TRUE(read_all(file.write(write(head)), &head).ok());
}

TEST(KvFile, EveryFlippedBitIsSeen) {
  MemoryFile file;
  const std::string whole = write(small_head());
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int bit : {0, 3, 7}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      const Status status = read_all(file.write(damaged), nullptr);
      ASSERT_FALSE(status.ok()) << "byte " << at << ", bit " << bit;
      EXPECT_EQ(status.kind(), ErrorKind::kModel);
    }
  }
}

TEST(KvFile, EveryCutAndEveryTailIsSeen) {
  MemoryFile file;
  const std::string whole = write(small_head());
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto opened = KvFileReader::open(file.write(whole.substr(0, size)));
    ASSERT_FALSE(opened.ok()) << size;
    EXPECT_EQ(opened.status().kind(), ErrorKind::kModel);
  }
  EXPECT_FALSE(KvFileReader::open(file.write(whole + "x")).ok());
  EXPECT_FALSE(KvFileReader::open("/dev/null").ok());
  EXPECT_FALSE(KvFileReader::open("/no/such/file").ok());
}

TEST(KvFile, RecordsInEachOthersPlaceAreSeen) {
  MemoryFile file;
  const KvFileHead head = small_head();
  std::string bytes = write(head);
  // The last two records: page 4's of 24 bytes, then of 8; before them page 3's of the same sizes.
  const size_t pair = 24 + 8 + 8 + 8;
  const std::string last = bytes.substr(bytes.size() - pair);
  const std::string before = bytes.substr(bytes.size() - 2 * pair, pair);
  bytes.replace(bytes.size() - 2 * pair, 2 * pair, last + before);
  EXPECT_FALSE(read_all(file.write(bytes), nullptr).ok());
}

// A head whose checksum is right says anything.
std::string with_number(std::string bytes, size_t at, uint64_t number) {
  uint32_t head_bytes = 0;
  std::memcpy(&head_bytes, bytes.data() + 12, sizeof(head_bytes));
  std::memcpy(bytes.data() + at, &number, sizeof(number));
  const uint64_t checksum =
      hash64(std::as_bytes(std::span(bytes.data(), head_bytes - sizeof(number))), ~uint64_t{0});
  std::memcpy(bytes.data() + head_bytes - sizeof(checksum), &checksum, sizeof(checksum));
  return bytes;
}

TEST(KvFile, HeadsThatLieAreRefusedBeforeAnythingIsAllocated) {
  MemoryFile file;
  const std::string whole = write(small_head());
  ASSERT_TRUE(read_all(file.write(with_number(whole, 16, 5)), nullptr).ok());
  // pages, sink, window, two sizes of records, the length of the first text
  for (const size_t at : {16, 24, 32, 40, 48, 56}) {
    for (const uint64_t number : {uint64_t{4}, uint64_t{6}, uint64_t{1} << 31, uint64_t{1} << 40,
                                  uint64_t{1} << 61, ~uint64_t{0}}) {
      const Status status = read_all(file.write(with_number(whole, at, number)), nullptr);
      ASSERT_FALSE(status.ok()) << at << " " << number;
      EXPECT_EQ(status.kind(), ErrorKind::kModel);
    }
  }
}

TEST(KvFile, MessagesSayWhatIsWrong) {
  MemoryFile file;
  const std::string whole = write(small_head());
  const auto message = [&](const std::string& bytes) {
    return read_all(file.write(bytes), nullptr).message();
  };
  const auto has = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(message("GGUF"), "not a KV file"));
  EXPECT_TRUE(has(message(whole.substr(0, whole.size() - 1)), "it was cut"));
  std::string other = whole;
  other[8] = 9;
  EXPECT_TRUE(has(message(other), "version 9"));
  other = whole;
  other[whole.size() - 20] ^= 1;
  EXPECT_TRUE(has(message(other), "checksum of a page"));
}

}  // namespace
}  // namespace lserve
