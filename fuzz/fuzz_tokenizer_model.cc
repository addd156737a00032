// tokenizer.model, SentencePiece's protobuf: every file is refused by name or makes a tokenizer
// that keeps its promises.
#include "checkpoint/tokenizer_data.h"
#include "fuzzed_tokenizer.h"
#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lserve::FuzzedDirectory kDirectory("tokenizer.model");
  lserve::check_fuzzed_tokenizer(
      lserve::read_hf_tokenizer(kDirectory.write(data, size), lserve::kFuzzedVocab));
  return 0;
}
