// Numbers that people type, and text made safe for messages.
#include "base/strings.h"

#include <gtest/gtest.h>

#include <array>

namespace lserve {
namespace {

TEST(StringsTest, Cat) {
  EXPECT_EQ(cat("a", 1, ' ', std::string("b"), true, -2.5), "a1 btrue-2.5");
  EXPECT_EQ(fixed(1.25, 1).size(), 3U);
  EXPECT_EQ(with_separators(1234567), "1,234,567");
  EXPECT_EQ(with_separators(-1000), "-1,000");
  EXPECT_EQ(with_separators(999), "999");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(12884901888ULL), "12.00 GiB");
}

TEST(StringsTest, ParseCount) {
  EXPECT_EQ(parse_count("4096", "n").value(), 4096);
  EXPECT_EQ(parse_count("32k", "n").value(), 32768);
  EXPECT_EQ(parse_count("1M", "n").value(), 1 << 20);
  for (const char* text : {"", "k", "-", "12x", "1.5.5", "99999999999999999999", "9999999999G",
                           " 1", "1 ", "0x10", "1kk"}) {
    const auto result = parse_count(text, "--flag");
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.status().kind(), ErrorKind::kUsage);
    EXPECT_NE(result.status().message().find("--flag"), std::string::npos);
  }
}

TEST(StringsTest, ParseBytes) {
  EXPECT_EQ(parse_bytes("1KiB", "n").value(), 1024);
  EXPECT_EQ(parse_bytes("2GiB", "n").value(), int64_t{2} << 30);
  EXPECT_EQ(parse_bytes("1kB", "n").value(), 1000);
  EXPECT_EQ(parse_bytes("1GB", "n").value(), 1000000000);
  EXPECT_FALSE(parse_bytes("99999999999TiB", "n").ok());
}

TEST(StringsTest, ParseNumbers) {
  EXPECT_EQ(parse_int("-7", "n").value(), -7);
  EXPECT_FALSE(parse_int("7.0", "n").ok());
  EXPECT_FALSE(parse_int("9223372036854775808", "n").ok());
  EXPECT_EQ(parse_double("0.5", "n").value(), 0.5);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "0.5x"}) {
    EXPECT_FALSE(parse_double(text, "n").ok()) << text;
  }
}

TEST(StringsTest, QuotedIsShortAndPrintable) {
  const std::string text = lserve::quoted(std::string(1000, 'a') + "\n");
  EXPECT_LT(text.size(), 80U);
  const std::string control = lserve::quoted(std::string_view("a\nb\0c\x1B", 6));
  for (const char c : control) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
}

TEST(StringsTest, DidYouMean) {
  const std::array<std::string, 3> words = {"--budget", "--threads", "--seed"};
  EXPECT_EQ(did_you_mean("--bugdet", words), "--budget");
  EXPECT_EQ(did_you_mean("--thread", words), "--threads");
  EXPECT_EQ(did_you_mean("--unrelated-thing", words), std::nullopt);
}

}  // namespace
}  // namespace lserve
