// tokenizer.json: what the reader accepts makes a tokenizer that encodes any bytes, and never lets
// user text become a control token.
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

namespace {

// The reader wants a directory, so the input is a file in one; gone when the fuzzer ends.
class Directory {
 public:
  Directory() {
    std::string name = "/dev/shm/fuzz-tokenizer-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Directory() {
    ::unlink((path_ + "/tokenizer.json").c_str());
    ::rmdir(path_.c_str());
  }
  const std::string& write(const uint8_t* data, size_t size) const {
    std::ofstream out(path_ + "/tokenizer.json", std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    CHECK(out.good());
    return path_;
  }

 private:
  std::string path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  static const Directory kDirectory;
  constexpr int64_t kVocab = 512;
  auto read = read_tokenizer_json(kDirectory.write(data, size), kVocab);
  if (!read.ok()) {
    CHECK(read.status().kind() == ErrorKind::kModel);
    return 0;
  }
  CHECK(read->tokens.size() == static_cast<size_t>(kVocab));
  auto tokenizer = Tokenizer::create(std::move(read).value());
  if (!tokenizer.ok()) return 0;  // a control token of a single byte
  std::string text = "a b 12's \xC3\xA9\xFF";
  for (const AddedToken& token : (*tokenizer)->data().added_tokens) text += token.text;
  for (const int32_t id : (*tokenizer)->encode(text, SpecialTokens::kAsText)) {
    CHECK(!(*tokenizer)->is_special(id));
  }
  for (const int32_t id : (*tokenizer)->encode_with_bos(text, SpecialTokens::kParse)) {
    CHECK(id >= 0 && id < kVocab);
  }
  return 0;
}
