// What the targets for tokenizer files share: a file in a directory of its own, and the promises
// that every tokenizer keeps.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "base/check.h"
#include "checkpoint/tokenizer_data.h"
#include "tokenizer/tokenizer.h"

namespace lserve {

inline constexpr int64_t kFuzzedVocab = 512;

// The readers want a directory, so the input is a file in one; gone when the fuzzer ends.
class FuzzedDirectory {
 public:
  explicit FuzzedDirectory(std::string file) : file_(std::move(file)) {
    std::string name = "/dev/shm/fuzz-tokenizer-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~FuzzedDirectory() {
    ::unlink((path_ + "/" + file_).c_str());
    ::rmdir(path_.c_str());
  }
  const std::string& write(const uint8_t* data, size_t size) const {
    std::ofstream out(path_ + "/" + file_, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    CHECK(out.good());
    return path_;
  }

 private:
  std::string file_, path_;
};

// What a reader accepts makes a tokenizer that encodes any bytes to ids of the model, and never
// lets user text become a control token, but for the unknown one.
inline void check_fuzzed_tokenizer(Result<TokenizerData> read) {
  if (!read.ok()) {
    CHECK(read.status().kind() == ErrorKind::kModel);
    return;
  }
  CHECK(read->tokens.size() == static_cast<size_t>(kFuzzedVocab));
  auto made = Tokenizer::create(std::move(read).value());
  if (!made.ok()) return;  // a control token of a single byte, a score that is not finite
  const Tokenizer& tokenizer = **made;
  std::string text = "a b  12's\n\n \xC3\xA9\xCC\x81\xFF<0x0A>\xE2\x96\x81 c";
  for (const AddedToken& token : tokenizer.data().added_tokens) text += token.text + " ";
  const auto& rules = tokenizer.data().sentence_piece;
  for (const int32_t id : tokenizer.encode(text, SpecialTokens::kAsText)) {
    CHECK(!tokenizer.is_special(id) || (rules && rules->unknown_id == id));
  }
  const auto ids = tokenizer.encode_with_bos(text, SpecialTokens::kParse);
  for (const int32_t id : ids) CHECK(id >= 0 && id < kFuzzedVocab);
  tokenizer.decode(ids);
}

}  // namespace lserve
