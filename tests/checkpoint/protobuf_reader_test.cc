// Fields as they are written, and no length, tag or number believed that the bytes do not bear out.
#include "checkpoint/protobuf_reader.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "support/sentencepiece_writer.h"

namespace lserve {
namespace {

TEST(ProtobufReader, FieldsComeInOrder) {
  ProtobufWriter inner;
  inner.varint(7, 1);
  const std::string bytes =
      ProtobufWriter().varint(1, 300).fixed32(2, 1.5F).text(3, inner.str()).text(4, "").str();
  ProtobufReader reader(bytes, "file");
  auto field = reader.next();
  ASSERT_TRUE(field.ok() && *field);
  EXPECT_EQ((*field)->number, 1U);
  EXPECT_EQ((*field)->value, 300U);
  EXPECT_FALSE((*field)->has_bytes);
  field = reader.next();
  EXPECT_EQ((*field)->value, 0x3FC00000U);
  field = reader.next();
  ASSERT_TRUE((*field)->has_bytes);
  ProtobufReader nested = reader.enter(**field, "inner");
  EXPECT_EQ((*nested.next())->number, 7U);
  EXPECT_FALSE(*nested.next());
  EXPECT_EQ((*reader.next())->bytes, "");
  EXPECT_FALSE(*reader.next());
  EXPECT_FALSE(*reader.next());
}

std::string error_of(std::string_view bytes) {
  ProtobufReader reader(bytes, "file");
  while (true) {
    const auto field = reader.next();
    if (!field.ok()) {
      EXPECT_EQ(field.status().kind(), ErrorKind::kModel);
      return field.status().message();
    }
    if (!*field) return "accepted";
  }
}

TEST(ProtobufReader, DamageIsRefused) {
  const auto expect = [](std::string_view bytes, std::string_view part) {
    const std::string error = error_of(bytes);
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect("", "accepted");
  expect(std::string("\0", 1), "no protobuf field (at byte 1)");
  expect("\x80", "no protobuf field");
  expect("\x08", "field 1 is cut off (at byte 1)");
  expect("\x08\x80", "field 1 is cut off");
  expect("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "field 1 is cut off");
  expect(
      "\x0A\x05"
      "abcd",
      "field 1 has 5 bytes, but 4 are left");
  expect("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "18446744073709551615 bytes, but 0");
  expect("\x0B", "wire type 3");
  expect("\x0F", "wire type 7");
  expect("\x0D\x01\x02\x03", "field 1 is cut off");
  expect("\x09\x01\x02\x03\x04\x05\x06\x07", "field 1 is cut off");
  expect("\xF8\xFF\xFF\xFF\x7F\x01", "no protobuf field");
}

TEST(ProtobufReader, RandomBytesEndInAnErrorOrTheEnd) {
  constexpr uint64_t kSeed = 9;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes;
    for (int64_t i = random.integer(0, 24); i > 0; --i) {
      bytes += static_cast<char>(random.integer(0, 255));
    }
    EXPECT_FALSE(error_of(bytes).empty());
  }
}

}  // namespace
}  // namespace lserve
