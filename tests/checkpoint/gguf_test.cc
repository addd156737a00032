// Every rule of reliability.md 1.3 as a pair: what is accepted, and what is refused with which
// words.
#include "checkpoint/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "support/gguf_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

struct GgufCase {
  const char* name;
  std::function<void(GgufWriter&)> change;  // of a good file with one tensor and three keys
  const char* error;                        // empty: accepted
};

GgufWriter small_file() {
  GgufWriter w;
  w.string("general.architecture", "llama");
  w.u32("llama.block_count", 3);
  w.strings("list", {"x", "yy"});
  w.tensors.push_back({"t", {32, 2}, kGgmlF32, ramp_bytes(256, 1), {}});
  return w;
}

ByteString array_head(uint32_t type, uint64_t count) { return ByteString().put(type).put(count); }

void add_tensor(GgufWriter& w, const std::string& name, std::vector<uint64_t> dims, uint32_t type,
                size_t bytes) {
  w.tensors.push_back({name, std::move(dims), type, ramp_bytes(bytes, 2), {}});
}

std::vector<GgufCase> preamble_cases() {
  return {
      {"good", [](auto&) {}, ""},
      {"version 2", [](auto& w) { w.version = 2; }, ""},
      {"version 0", [](auto& w) { w.version = 0; }, "version: 0 is not supported"},
      {"version 1", [](auto& w) { w.version = 1; }, "version: 1 is not supported"},
      {"version 4", [](auto& w) { w.version = 4; }, "version: 4 is not supported"},
      {"byte-swapped", [](auto& w) { w.version = 0x03000000; }, "byte-swapped"},
      {"byte-swapped magic", [](auto& w) { w.magic = "FUGG"; }, "byte-swapped"},
      {"older than GGUF", [](auto& w) { w.magic = "tjgg"; }, "older than GGUF"},
      {"other magic",
       [](auto& w) {
         w.magic =
             "\x7F"
             "ELF";
       },
       "\"\\x7fELF\" is not \"GGUF\""},
      {"tensor count", [](auto& w) { w.num_tensors = UINT64_MAX; }, "tensor count"},
      {"a tensor too many", [](auto& w) { w.num_tensors = 2; }, "tensor 1"},
      {"metadata count", [](auto& w) { w.num_metadata = uint64_t{1} << 61; }, "metadata count"},
      {"no tensors, no metadata",
       [](auto& w) {
         w.tensors.clear();
         w.metadata.clear();
       },
       ""},
  };
}

std::vector<GgufCase> metadata_cases() {
  return {
      {"empty key", [](auto& w) { w.u32("", 1); }, "name is empty"},
      {"key of 65535 bytes", [](auto& w) { w.u32(std::string(65535, 'k'), 1); }, ""},
      {"key of 65536 bytes", [](auto& w) { w.u32(std::string(65536, 'k'), 1); }, "at most 65535"},
      {"key in invalid UTF-8", [](auto& w) { w.u32("\xFF", 1); }, "invalid UTF-8"},
      {"duplicate key", [](auto& w) { w.u32("list", 1); }, "\"list\": the key occurs twice"},
      {"value type 13", [](auto& w) { w.add("k", 13, ByteString().put<uint64_t>(1)); },
       "unknown value type 13"},
      {"bool 1", [](auto& w) { w.boolean("k", true); }, ""},
      {"bool 2", [](auto& w) { w.add("k", kGgufBool, ByteString().put<uint8_t>(2)); },
       "neither 0 nor 1"},
      {"string longer than the file",
       [](auto& w) { w.add("k", kGgufString, ByteString().put<uint64_t>(1 << 20)); },
       "a string of 1048576 bytes, but the file has"},
      {"string of 2^63",
       [](auto& w) { w.add("k", kGgufString, ByteString().put(uint64_t{1} << 63)); },
       "at most 16777216"},
      {"empty array", [](auto& w) { w.add("k", kGgufArray, array_head(kGgufU8, 0)); }, ""},
      {"nested array",
       [](auto& w) { w.add("k", kGgufArray, array_head(kGgufArray, 1).put<uint64_t>(0)); },
       "nested arrays"},
      {"array element type 13", [](auto& w) { w.add("k", kGgufArray, array_head(13, 0)); },
       "unknown array element type 13"},
      {"array longer than the file",
       [](auto& w) { w.add("k", kGgufArray, array_head(kGgufU64, 1 << 20)); },
       "an array of 1048576 elements"},
      {"array whose bytes wrap",
       [](auto& w) { w.add("k", kGgufArray, array_head(kGgufU64, (uint64_t{1} << 61) + 1)); },
       "elements, but the file has"},
      {"array of strings that are not there",
       [](auto& w) { w.add("k", kGgufArray, array_head(kGgufString, 30).put(uint64_t{1} << 40)); },
       "a string of 1099511627776 bytes"},
      {"u64 element beyond 63 bits",
       [](auto& w) { w.add("k", kGgufArray, array_head(kGgufU64, 1).put(UINT64_MAX)); },
       "exceeds 63 bits"},
      {"alignment 64",
       [](auto& w) {
         w.u32("general.alignment", 64);
         w.alignment = 64;
       },
       ""},
      {"alignment 1",
       [](auto& w) {
         w.u32("general.alignment", 1);
         w.alignment = 1;
       },
       ""},
      {"alignment of another type",
       [](auto& w) { w.add("general.alignment", kGgufU64, ByteString().put<uint64_t>(32)); },
       "must be a UINT32"},
      {"alignment is a string", [](auto& w) { w.string("general.alignment", "32"); },
       "must be a UINT32"},
      {"alignment 0", [](auto& w) { w.u32("general.alignment", 0); }, "no power of two"},
      {"alignment 24", [](auto& w) { w.u32("general.alignment", 24); }, "no power of two"},
      {"alignment 2 MiB", [](auto& w) { w.u32("general.alignment", 2 << 20); }, "no power of two"},
  };
}

std::vector<GgufCase> tensor_cases() {
  const auto dims = [](std::vector<uint64_t> list) {
    return [list](GgufWriter& w) { w.tensors[0].dims = list; };
  };
  return {
      {"name of 63 bytes", [](auto& w) { w.tensors[0].name = std::string(63, 'n'); }, ""},
      {"name of 64 bytes", [](auto& w) { w.tensors[0].name = std::string(64, 'n'); }, "at most 63"},
      {"empty name", [](auto& w) { w.tensors[0].name.clear(); }, "name is empty"},
      {"name twice", [](auto& w) { add_tensor(w, "t", {1}, kGgmlF32, 4); }, "name occurs twice"},
      {"another name", [](auto& w) { add_tensor(w, "u", {1}, kGgmlF32, 4); }, ""},
      {"no dimensions", dims({}), "0 dimensions"},
      {"1 dimension", dims({64}), ""},
      {"4 dimensions", dims({32, 2, 1, 1}), ""},
      {"5 dimensions", dims({32, 2, 1, 1, 1}), "5 dimensions"},
      {"negative dimension", dims({uint64_t(-32), 2}), "dimension 0 is negative"},
      {"product wraps", dims({uint64_t{1} << 32, uint64_t{1} << 32}), "overflows"},
      {"bytes wrap", dims({uint64_t{1} << 61, 4}), "overflows"},
      {"wraps before a zero", dims({uint64_t{1} << 62, 1 << 10, 0}), "overflows"},
      {"zero dimension",
       [](auto& w) {
         w.tensors[0].dims = {32, 0};
         w.tensors[0].data.clear();
       },
       ""},
      {"unknown type", [](auto& w) { w.tensors[0].type = 4; }, "unknown ggml type 4"},
      {"type beyond the table", [](auto& w) { w.tensors[0].type = 1000; },
       "unknown ggml type 1000"},
      {"row of half a block",
       [](auto& w) {
         add_tensor(w, "q", {48, 2}, kGgmlQ8_0, 102);
       },
       "no multiple of the 32 of a Q8_0 block"},
      {"row of whole blocks",
       [](auto& w) {
         add_tensor(w, "q", {64, 2}, kGgmlQ8_0, 136);
       },
       ""},
      {"a known type without use",
       [](auto& w) {
         add_tensor(w, "q", {256, 2}, kGgmlQ4_K, 288);
       },
       ""},
      {"offset not aligned",
       [](auto& w) {
         add_tensor(w, "u", {1}, kGgmlF32, 4);
         w.tensors[1].offset = 260;
       },
       "expected 256"},
      {"offset leaves a hole",
       [](auto& w) {
         add_tensor(w, "u", {1}, kGgmlF32, 4);
         w.tensors[1].offset = 288;
       },
       "expected 256"},
      {"offset overlaps",
       [](auto& w) {
         add_tensor(w, "u", {1}, kGgmlF32, 4);
         w.tensors[1].offset = 0;
       },
       "expected 256"},
      {"offset wraps", [](auto& w) { w.tensors[0].offset = UINT64_MAX - 31; }, "expected 0"},
      {"data missing", [](auto& w) { w.tensors[0].data.pop_back(); }, "incomplete download"},
      {"huge tensor", dims({32, uint64_t{1} << 40}), "incomplete download"},
  };
}

void run(const std::vector<GgufCase>& cases) {
  const TempDirectory directory;
  for (const GgufCase& c : cases) {
    SCOPED_TRACE(c.name);
    GgufWriter w = small_file();
    c.change(w);
    const auto gguf = Gguf::open(directory.write("m.gguf", w.build()));
    const std::string error = gguf.ok() ? "" : gguf.status().message();
    if (c.error[0] == '\0') {
      EXPECT_TRUE(gguf.ok()) << error;
    } else {
      ASSERT_FALSE(gguf.ok());
      EXPECT_NE(error.find(c.error), std::string::npos) << error;
      EXPECT_NE(error.find("m.gguf"), std::string::npos) << error;
      EXPECT_EQ(gguf.status().kind(), ErrorKind::kModel);
    }
  }
}

TEST(Gguf, PreambleRules) { run(preamble_cases()); }
TEST(Gguf, MetadataRules) { run(metadata_cases()); }
TEST(Gguf, TensorRules) { run(tensor_cases()); }

TEST(Gguf, LfsPointerIsNamed) {
  const TempDirectory directory;
  const auto gguf =
      Gguf::open(directory.write("m.gguf", "version https://git-lfs.example/spec/v1\nsize 9\n"));
  ASSERT_FALSE(gguf.ok());
  EXPECT_NE(gguf.status().message().find("Git-LFS pointer"), std::string::npos);
}

// All numeric types, each with its extremes.
TEST(Gguf, TypedAccess) {
  GgufWriter w;
  w.add("u8", kGgufU8, ByteString().put<uint8_t>(255));
  w.add("i8", kGgufI8, ByteString().put<int8_t>(-128));
  w.add("u16", kGgufU16, ByteString().put<uint16_t>(65535));
  w.add("i16", kGgufI16, ByteString().put<int16_t>(-32768));
  w.add("i32", kGgufI32, ByteString().put<int32_t>(INT32_MIN));
  w.add("u64", kGgufU64, ByteString().put<uint64_t>(UINT64_MAX));
  w.add("i64", kGgufI64, ByteString().put<int64_t>(INT64_MIN));
  w.add("f64", kGgufF64, ByteString().put(0.1));
  w.f32("f32", 0.5F);
  w.f32("nan", std::numeric_limits<float>::quiet_NaN());
  w.boolean("bool", true);
  w.string("string", "text");
  w.strings("strings", {"a", "", "c"});
  w.i32s("ints", {1, -2});
  const TempDirectory directory;
  const auto gguf = Gguf::open(directory.write("m.gguf", w.build()));
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  EXPECT_EQ(gguf->get_int("u8").value(), 255);
  EXPECT_EQ(gguf->get_int("i8").value(), -128);
  EXPECT_EQ(gguf->get_int("u16").value(), 65535);
  EXPECT_EQ(gguf->get_int("i16").value(), -32768);
  EXPECT_EQ(gguf->get_int("i32").value(), INT32_MIN);
  EXPECT_EQ(gguf->get_int("i64").value(), INT64_MIN);
  EXPECT_EQ(gguf->get_double("f64").value(), 0.1);
  EXPECT_EQ(gguf->get_double("f32").value(), 0.5);
  EXPECT_EQ(gguf->get_double("i8").value(), -128.0);
  EXPECT_TRUE(gguf->get_bool("bool").value());
  EXPECT_EQ(gguf->get_string("string").value(), "text");
  EXPECT_EQ(gguf->get_strings("strings").value()[2], "c");
  EXPECT_EQ(gguf->get_ints("ints").value()[1], -2);

  const auto message = [](const auto& result) {
    return result.ok() ? "" : result.status().message();
  };
  EXPECT_NE(message(gguf->get_int("u64")).find("too large"), std::string::npos);
  EXPECT_NE(message(gguf->get_double("nan")).find("not finite"), std::string::npos);
  EXPECT_NE(message(gguf->get_int("string")).find("string: is a string, expected an integer"),
            std::string::npos);
  EXPECT_NE(message(gguf->get_int("f32")).find("is a float"), std::string::npos);
  EXPECT_NE(message(gguf->get_strings("ints")).find("is an integer array"), std::string::npos);
  EXPECT_NE(message(gguf->get_ints("strings")).find("array of strings"), std::string::npos);
  EXPECT_NE(message(gguf->get_bool("u8")).find("expected a bool"), std::string::npos);
  EXPECT_NE(message(gguf->get_string("absent")).find("absent: the key is missing"),
            std::string::npos);
  EXPECT_FALSE(gguf->has("absent"));
}

// A key with a length beyond one buffer of the cursor, so that reads cross its end.
TEST(Gguf, LongStringsComeBackWhole) {
  const std::string text = ramp_bytes(200'001, 5);
  GgufWriter w;
  w.u32("before", 7);
  w.string("long", text);
  w.u32("after", 8);
  const TempDirectory directory;
  const auto gguf = Gguf::open(directory.write("m.gguf", w.build()));
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  EXPECT_EQ(gguf->get_string("long").value(), text);
  EXPECT_EQ(gguf->get_int("after").value(), 8);
}

}  // namespace
}  // namespace lserve
