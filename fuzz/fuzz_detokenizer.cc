// Tokens and stop strings: the streamed text is valid UTF-8 and does not depend on the tokens'
// borders.
//
// Input: a count byte, then for each stop string a length byte and its bytes, then the text's
// bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"
#include "checkpoint/tokenizer_data.h"
#include "tokenizer/detokenizer.h"

namespace {

// The single bytes, then all pairs of some bytes that matter to UTF-8.
lserve::TokenizerData byte_data() {
  lserve::TokenizerData data;
  for (int b = 0; b < 256; ++b) data.tokens.emplace_back(1, static_cast<char>(b));
  for (const char a : {'a', '\xC3', '\xE2', '\x80'}) {
    for (const char b : {'b', '\xA9', '\x82', '\xAC'}) data.tokens.push_back({a, b});
  }
  return data;
}

std::string stream(const lserve::Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                   const std::vector<std::string>& stops) {
  lserve::Detokenizer detokenizer(tokenizer, stops);
  std::string text;
  for (const int32_t id : ids) {
    const std::string delta = detokenizer.push(id);
    CHECK(!lserve::first_invalid_utf8(delta));
    text += delta;
  }
  const std::string rest = detokenizer.finish();
  CHECK(!lserve::first_invalid_utf8(rest));
  return text + rest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  static const std::unique_ptr<Tokenizer> kTokenizer = Tokenizer::create(byte_data()).value();
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto take = [&]() -> size_t {
    if (input.empty()) return 0;
    const auto byte = static_cast<unsigned char>(input[0]);
    input.remove_prefix(1);
    return byte;
  };
  std::vector<std::string> stops;
  for (size_t count = take() % 4; count > 0; --count) {
    const size_t length = std::min<size_t>(take() % 8, input.size());
    if (length > 0) stops.emplace_back(input.substr(0, length));
    input.remove_prefix(length);
  }
  std::vector<int32_t> ids, bytes;
  for (const char c : input) {
    ids.push_back(static_cast<unsigned char>(c));
    if (ids.back() % 5 == 0) ids.back() += 17;  // some are pairs
    for (const char b : kTokenizer->token_bytes(ids.back())) {
      bytes.push_back(static_cast<unsigned char>(b));
    }
  }
  const std::string text = stream(*kTokenizer, ids, stops);
  CHECK(text == stream(*kTokenizer, bytes, stops));
  for (const std::string& stop : stops) {
    CHECK(text.find(to_valid_utf8(stop)) == std::string::npos);
  }
  return 0;
}
