// Every rule of reliability.md 1.2 as a pair: what is accepted, and what is refused with which
// words.
#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/safetensors_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

struct HeaderCase {
  const char* name;
  std::string header;
  size_t data_bytes;
  const char* error;  // empty: accepted
};

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype": ")" + dtype + R"(", "shape": )" + shape + R"(, "data_offsets": )" + offsets +
         "}";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a": )" + tensor(dtype, shape, offsets) + "}";
}

std::string two(const std::string& offsets_a, const std::string& offsets_b) {
  return R"({"a": )" + tensor("F32", "[2]", offsets_a) + R"(, "b": )" +
         tensor("F32", "[2]", offsets_b) + "}";
}

std::string nested(int depth) {
  return R"({"a": )" + std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']') + "}";
}

std::vector<HeaderCase> header_cases() {
  const std::string good = tensor("F32", "[2]", "[0, 8]");
  return {
      {"no tensors", "{}", 0, ""},
      {"one tensor", one("F32", "[2]", "[0, 8]"), 8, ""},
      {"f16", one("F16", "[2, 3]", "[0, 12]"), 12, ""},
      {"bf16", one("BF16", "[3, 2]", "[0, 12]"), 12, ""},
      {"a known type that is no weight", one("I64", "[1]", "[0, 8]"), 8, ""},
      {"unknown type", one("F31", "[2]", "[0, 8]"), 8, "dtype: \"F31\" is unknown"},
      {"lower-case type", one("f32", "[2]", "[0, 8]"), 8, "dtype: \"f32\" is unknown"},
      {"type is a number", R"({"a": {"dtype": 1, "shape": [], "data_offsets": [0, 4]}})", 4,
       "dtype: no string"},
      {"no type", R"({"a": {"shape": [1], "data_offsets": [0, 4]}})", 4, "dtype: no string"},
      {"no shape", R"({"a": {"dtype": "F32", "data_offsets": [0, 4]}})", 4, "shape: no array"},
      {"no offsets", R"({"a": {"dtype": "F32", "shape": [1]}})", 4, "data_offsets: no array"},
      {"unknown member", R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}})",
       4, "unknown member \"x\""},
      {"tensor is no object", R"({"a": 3})", 0, "is no JSON object"},
      {"padding by spaces", "{}       ", 0, ""},
      {"leading space", " {}", 0, "does not begin with"},
      {"root is an array", "[]", 0, "does not begin with"},
      {"empty header", "", 0, "does not begin with"},
      {"text behind the header", "{}x", 0, "invalid JSON"},
      {"NUL behind the header", std::string("{}\0x", 4), 0, "NUL"},
      {"not closed", R"({"a": )" + good, 8, "invalid JSON"},
      {"trailing comma", R"({"a": )" + good + ",}", 8, "invalid JSON"},
      {"invalid UTF-8", "{\"\xFF\": " + good + "}", 8, "invalid UTF-8"},
      {"name in UTF-8", "{\"\xC3\xA9\": " + good + "}", 8, ""},
      {"duplicate tensor", R"({"a": )" + good + R"(, "a": )" + good + "}", 8, "duplicate key"},
      {"duplicate member",
       R"({"a": {"dtype": "F32", "dtype": "F32", "shape": [2],)"
       R"( "data_offsets": [0, 8]}})",
       8, "duplicate key"},
      {"depth within the limit", nested(7), 0, "is no JSON object"},
      {"depth beyond the limit", nested(8), 0, "nested too deeply"},
      {"metadata of strings", R"({"__metadata__": {"format": "pt"}})", 0, ""},
      {"metadata with a number", R"({"__metadata__": {"format": 1}})", 0, "__metadata__"},
      {"metadata is a list", R"({"__metadata__": []})", 0, "__metadata__"},
      {"scalar", one("F32", "[]", "[0, 4]"), 4, ""},
      {"zero dimension", one("F32", "[4, 0, 2]", "[0, 0]"), 0, ""},
      {"rank 8", one("F16", "[1,1,1,1,1,1,1,1]", "[0, 2]"), 2, ""},
      {"rank 9", one("F16", "[1,1,1,1,1,1,1,1,1]", "[0, 2]"), 2, "shape: 9 numbers, at most 8"},
      {"name of 512 bytes", "{\"" + std::string(512, 'n') + "\": " + good + "}", 8, ""},
      {"name of 513 bytes", "{\"" + std::string(513, 'n') + "\": " + good + "}", 8, "513 bytes"},
      {"empty name", R"({"": )" + good + "}", 8, "0 bytes"},
      {"exponent", one("F32", "[2e0]", "[0, 8]"), 8, "no non-negative integer"},
      {"decimal point", one("F32", "[2.0]", "[0, 8]"), 8, "no non-negative integer"},
      {"minus zero", one("F32", "[2]", "[-0, 8]"), 8, "negative number"},
      {"negative dimension", one("F32", "[-2]", "[0, 8]"), 8, "negative number"},
      {"minus in a name", R"({"a-1": )" + good + "}", 8, ""},
      {"minus behind an escaped quote", R"({"a\"-1": )" + good + "}", 8, ""},
      {"dimension beyond 63 bits", one("F32", "[18446744073709551615]", "[0, 8]"), 8,
       "no non-negative integer"},
      {"dimension is a string", one("F32", "[\"2\"]", "[0, 8]"), 8, "no non-negative integer"},
      {"product wraps to 0", one("F32", "[4294967296, 4294967296]", "[0, 0]"), 0, "overflows"},
      {"bits wrap to 64", one("F32", "[4611686018427387906]", "[0, 8]"), 8, "overflows"},
      {"half a byte", one("F4", "[3]", "[0, 1]"), 1, "no whole number of bytes"},
      {"two of half a byte", one("F4", "[4]", "[0, 2]"), 2, ""},
      {"bytes do not fit the shape", one("F32", "[2]", "[0, 12]"), 12, "shape and dtype need 8"},
      {"end before begin", one("F32", "[2]", "[8, 0]"), 8, "begin <= end"},
      {"three offsets", one("F32", "[2]", "[0, 8, 8]"), 8, "at most 2"},
      {"one offset", one("F32", "[2]", "[8]"), 8, "not [begin, end]"},
      {"two in order", two("[0, 8]", "[8, 16]"), 16, ""},
      {"two, listed the other way round", two("[8, 16]", "[0, 8]"), 16, ""},
      {"overlap", two("[0, 8]", "[4, 12]"), 12, "begins at byte 4, the tensor before it ends at 8"},
      {"same data twice", two("[0, 8]", "[0, 8]"), 8, "begins at byte 0"},
      {"hole", two("[0, 8]", "[12, 20]"), 20, "begins at byte 12"},
      {"first does not begin at 0", one("F32", "[2]", "[4, 12]"), 12, "begins at byte 4"},
      {"data too short", one("F32", "[2]", "[0, 8]"), 7, "header promises"},
      {"tail", one("F32", "[2]", "[0, 8]"), 9, "1 bytes follow the last tensor"},
      {"offsets far away", one("F32", "[2]", "[9223372036854775799, 9223372036854775807]"), 8,
       "begins at byte"},
  };
}

TEST(Safetensors, HeaderRules) {
  const TempDirectory directory;
  for (const HeaderCase& c : header_cases()) {
    SCOPED_TRACE(c.name);
    const std::string path =
        directory.write("m.safetensors", raw_safetensors(c.header, c.data_bytes));
    const auto file = Safetensors::open(path);
    const std::string error = file.ok() ? "" : file.status().message();
    if (c.error[0] == '\0') {
      EXPECT_TRUE(file.ok()) << error;
    } else {
      ASSERT_FALSE(file.ok());
      EXPECT_NE(error.find(c.error), std::string::npos) << error;
      EXPECT_NE(error.find("m.safetensors"), std::string::npos) << error;
      EXPECT_EQ(file.status().kind(), ErrorKind::kModel);
      EXPECT_EQ(error.find('\n'), std::string::npos);
    }
  }
}

TEST(Safetensors, FileRules) {
  const uint64_t too_long = 100'000'001;
  const std::string long_header(reinterpret_cast<const char*>(&too_long), 8);
  const std::string lfs =
      "version https://git-lfs.example/spec/v1\noid sha256:4d7a21\nsize 12345\n";
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"", "0 bytes are too few"},
      {"1234567", "7 bytes are too few"},
      {std::string(8, '\0'), "does not begin with"},
      {long_header + "{}", "at most 100000000 are allowed"},
      {std::string("\x10\0\0\0\0\0\0\0{}", 10), "incomplete download"},
      {std::string(8, '\xFF') + "{}", "at most 100000000"},
      {lfs, "is a Git-LFS pointer (69 bytes)"},
  };
  const TempDirectory directory;
  for (const auto& [bytes, expected] : cases) {
    const auto file = Safetensors::open(directory.write("m.safetensors", bytes));
    ASSERT_FALSE(file.ok()) << expected;
    EXPECT_NE(file.status().message().find(expected), std::string::npos) << file.status().message();
  }
  EXPECT_FALSE(Safetensors::open(directory.path()).ok());
  EXPECT_FALSE(Safetensors::open(directory.path() + "/absent").ok());
}

TEST(Safetensors, EntriesInTheOrderOfTheFile) {
  const TempDirectory directory;
  const auto file = Safetensors::open(
      directory.write("m.safetensors", raw_safetensors(two("[8, 16]", "[0, 8]"), 16)));
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(file->entries().size(), 2U);
  EXPECT_EQ(file->entries()[0].name, "b");
  EXPECT_EQ(file->entries()[1].name, "a");
  EXPECT_EQ(file->entries()[1].offset, file->entries()[0].offset + 8);
  EXPECT_EQ(file->entries()[1].offset + 8, file->file().size());
  EXPECT_EQ(file->entries()[0].format, WeightFormat::kF32);
  EXPECT_EQ(file->entries()[0].shape, std::vector<int64_t>{2});
}

}  // namespace
}  // namespace lserve
