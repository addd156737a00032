// Encodes many texts for tools/fuzz_tokenizers.py: tokenize_batch MODEL VOCAB_SIZE < texts > ids
//
// MODEL is a directory with a tokenizer, or a GGUF file. A text is its length (u32), a byte that is
// 1 if control tokens are parsed, and its bytes; its answer the number of ids (u32) and the ids
// (i32), all little-endian as the machine is.
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/gguf.h"
#include "checkpoint/tokenizer_data.h"
#include "tokenizer/tokenizer.h"

namespace lserve {
namespace {

Result<TokenizerData> read_tables(const std::string& path, int64_t vocab_size) {
  if (directory_exists(path)) return read_hf_tokenizer(path, vocab_size);
  ASSIGN_OR_RETURN(const Gguf gguf, Gguf::open(path));
  return read_tokenizer_gguf(gguf, vocab_size);
}

bool read_all(void* out, size_t bytes) { return std::fread(out, 1, bytes, stdin) == bytes; }

void write_all(const void* data, size_t bytes) { std::fwrite(data, 1, bytes, stdout); }

Status run(const std::string& path, std::string_view vocab_size) {
  ASSIGN_OR_RETURN(const int64_t size, parse_int(vocab_size, "VOCAB_SIZE"));
  ASSIGN_OR_RETURN(TokenizerData data, read_tables(path, size));
  ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::create(std::move(data)));
  uint32_t length = 0;
  while (read_all(&length, sizeof(length))) {
    unsigned char parse = 0;
    std::string text(length, '\0');
    if (!read_all(&parse, 1) || !read_all(text.data(), length)) {
      return usage_error("the last text is cut off");
    }
    const std::vector<int32_t> ids =
        tokenizer->encode(text, parse == 1 ? SpecialTokens::kParse : SpecialTokens::kAsText);
    const auto count = static_cast<uint32_t>(ids.size());
    write_all(&count, sizeof(count));
    write_all(ids.data(), ids.size() * sizeof(int32_t));
    std::fflush(stdout);  // who asks waits for it
  }
  return {};
}

}  // namespace
}  // namespace lserve

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: tokenize_batch MODEL VOCAB_SIZE\n", stderr);
    return 2;
  }
  const lserve::Status status = lserve::run(argv[1], argv[2]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}
