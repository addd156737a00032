#include "tokenizer/tokenizer.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "base/random.h"
#include "base/strings.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

using Ids = std::vector<int32_t>;

void check_goldens(const Tokenizer& tokenizer, std::string_view file, size_t at_least,
                   size_t with_control_at_least = 25) {
  const std::vector<Json> rows = read_json_lines(file);
  ASSERT_GE(rows.size(), at_least);
  const auto& sentence_piece = tokenizer.data().sentence_piece;
  size_t with_control = 0;
  for (const Json& row : rows) {
    const std::string& text = row.find("text")->as_string();
    const Ids as_text = ids_of(*row.find("as_text"));
    const Json* parse = row.find("parse");
    ASSERT_EQ(tokenizer.encode(text, SpecialTokens::kAsText), as_text) << quoted(text);
    ASSERT_EQ(tokenizer.encode(text, SpecialTokens::kParse), parse ? ids_of(*parse) : as_text)
        << quoted(text);
    if (const Json* with_bos = row.find("with_bos")) {
      ASSERT_EQ(tokenizer.encode_with_bos(text, SpecialTokens::kAsText), ids_of(*with_bos))
          << quoted(text);
    }
    with_control += parse != nullptr;
    for (const int32_t id : as_text) {
      // The unknown token is a control token too, and what characters without token become.
      if (sentence_piece && sentence_piece->unknown_id == id) continue;
      ASSERT_FALSE(tokenizer.is_special(id)) << quoted(text);
    }
  }
  EXPECT_GE(with_control, with_control_at_least);
}

TEST(TokenizerGoldens, SmolLmSmall) {
  check_goldens(small_tokenizer(), "smollm_small/goldens.jsonl", 1100);
}

TEST(TokenizerGoldens, IgnoreMerges) {
  TokenizerData data = small_data();
  data.merges.resize(1000);
  data.ignore_merges = true;
  check_goldens(*make_tokenizer(std::move(data)), "smollm_small/ignore_merges.jsonl", 700);
}

TEST(TokenizerGoldens, Retriever) {
  check_goldens(retriever_tokenizer(), "retriever/goldens.jsonl", 800);
}

TEST(TokenizerGoldens, SmolLm2) {
  if (smollm2_tokenizer() == nullptr) GTEST_SKIP() << "no " << smollm2_path();
  check_goldens(*smollm2_tokenizer(), "smollm2/goldens.jsonl", 1500);
}

// The vocabularies that tools/make_tokenizer_families.py trains.
TEST(TokenizerGoldens, Llama3) { check_goldens(family("llama3"), "llama3/goldens.jsonl", 600, 10); }

TEST(TokenizerGoldens, Qwen2) { check_goldens(family("qwen2"), "qwen2/goldens.jsonl", 600, 10); }

TEST(TokenizerGoldens, Llama2FromTokenizerJson) {
  check_goldens(family("llama2_json"), "llama2_json/goldens.jsonl", 600, 10);
}

TEST(TokenizerGoldens, Llama2WithMetaspace) {
  check_goldens(family("llama2_metaspace"), "llama2_metaspace/goldens.jsonl", 600, 10);
}

TEST(TokenizerGoldens, Llama2FromTokenizerModel) {
  check_goldens(family("llama2_model"), "llama2_model/goldens.jsonl", 600, 10);
}

TEST(TokenizerGoldens, SentencePieceWithUserSymbolsAndWithoutBytes) {
  check_goldens(family("symbols_model"), "symbols_model/goldens.jsonl", 600, 10);
}

TEST(Tokenizer, DecodeGivesTheTextBackLessControlTokens) {
  for (const Json& row : read_json_lines("retriever/goldens.jsonl")) {
    const std::string& text = row.find("text")->as_string();
    const auto& tokenizer = retriever_tokenizer();
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, SpecialTokens::kAsText)), text);
  }
  const auto& tokenizer = small_tokenizer();
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<|im_start|>a <tool_call>b", SpecialTokens::kParse)),
            "a <tool_call>b");
  EXPECT_EQ(tokenizer.decode(Ids{-1, 1 << 30, kSmallVocab}), "");
}

TEST(Tokenizer, InvalidUtf8RoundTripsThroughAFullVocabulary) {
  constexpr uint64_t kSeed = 4711;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int64_t i = random.integer(0, 60); i > 0; --i) {
      text += static_cast<char>(random.integer(0, 255));
    }
    const auto& tokenizer = retriever_tokenizer();
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, SpecialTokens::kAsText)), text);
  }
}

TEST(Tokenizer, BosIsAddedOnceAndOnlyIfTheTokenizerAddsOne) {
  const auto& retriever = retriever_tokenizer();
  EXPECT_EQ(retriever.encode_with_bos("", SpecialTokens::kAsText), Ids{257});
  EXPECT_EQ(retriever.encode_with_bos("a", SpecialTokens::kParse), (Ids{257, 97}));
  EXPECT_EQ(retriever.encode_with_bos("<bos>a", SpecialTokens::kParse), (Ids{257, 97}));
  EXPECT_EQ(retriever.encode_with_bos("<bos>", SpecialTokens::kAsText).front(), 257);
  EXPECT_EQ(retriever.encode_with_bos("<bos>", SpecialTokens::kAsText).size(), 6U);
  const std::vector<PromptPiece> pieces = {{"<bos>", false}, {"<bos>", true}};
  EXPECT_EQ(retriever.encode_with_bos(pieces), (Ids{257, '<', 'b', 'o', 's', '>'}));
  const auto& small = small_tokenizer();
  EXPECT_EQ(small.encode_with_bos("a", SpecialTokens::kAsText),
            small.encode("a", SpecialTokens::kAsText));
}

TEST(Tokenizer, EndOfTextIsWhatTheFileSays) {
  EXPECT_TRUE(small_tokenizer().is_end_of_text(2));
  EXPECT_FALSE(small_tokenizer().is_end_of_text(1));
  EXPECT_EQ(small_tokenizer().token_bytes(2), "<|im_end|>");
  EXPECT_TRUE(small_tokenizer().is_special(2));
  EXPECT_FALSE(small_tokenizer().is_special(4253));
  EXPECT_FALSE(small_tokenizer().is_special(-1));
}

// However a control token's text is cut into pieces, no byte of a message becomes part of one.
TEST(Tokenizer, MessagesNeverBecomeControlTokens) {
  const auto& tokenizer = small_tokenizer();
  for (const AddedToken& token : tokenizer.data().added_tokens) {
    if (!token.special) continue;
    for (size_t cut = 0; cut <= token.text.size(); ++cut) {
      const std::string head = token.text.substr(0, cut), tail = token.text.substr(cut);
      for (const auto& pieces : {std::vector<PromptPiece>{{head, false}, {tail, true}},
                                 std::vector<PromptPiece>{{head, true}, {tail, false}},
                                 std::vector<PromptPiece>{{head, true}, {tail, true}}}) {
        const bool all_template = (cut == 0 && !pieces[1].from_message) ||
                                  (cut == token.text.size() && !pieces[0].from_message);
        const Ids ids = tokenizer.encode(pieces);
        const bool has_special = std::any_of(ids.begin(), ids.end(),
                                             [&](int32_t id) { return tokenizer.is_special(id); });
        ASSERT_EQ(has_special, all_template) << token.text << " cut at " << cut;
      }
      const std::vector<PromptPiece> both = {{head, false}, {tail, false}};
      ASSERT_EQ(tokenizer.encode(both), Ids{token.id});
    }
  }
}

TEST(Tokenizer, PiecesAreEncodedAsOneText) {
  const auto& tokenizer = small_tokenizer();
  const std::vector<PromptPiece> pieces = {{"user\n", false}, {"\n\nhel", true}, {"lo", false}};
  EXPECT_EQ(tokenizer.encode(pieces), tokenizer.encode("user\n\n\nhello", SpecialTokens::kParse));
  EXPECT_EQ(tokenizer.encode(std::vector<PromptPiece>{}), Ids{});
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << " lacks " << part;
}

TEST(Tokenizer, BrokenTablesAreRefused) {
  const auto refusal = [](const std::function<void(TokenizerData&)>& damage) {
    TokenizerData data = small_data();
    damage(data);
    const auto tokenizer = Tokenizer::create(std::move(data));
    return tokenizer.ok() ? std::string("accepted") : tokenizer.status().message();
  };
  expect_contains(refusal([](auto& d) { d.merges[3].right = 99999; }), "merge 3");
  expect_contains(refusal([](auto& d) { d.merges[3].merged = -1; }), "merge 3");
  expect_contains(refusal([](auto& d) { d.merges[3].merged = 20; }), "does not give");
  expect_contains(refusal([](auto& d) { d.merges[5] = d.merges[3]; }), "3 and 5 are the same");
  expect_contains(refusal([](auto& d) { d.added_tokens[0].id = kSmallVocab; }), "4254");
  expect_contains(refusal([](auto& d) { d.added_tokens[0].text = d.added_tokens[2].text; }),
                  "twice");
  expect_contains(refusal([](auto& d) { d.added_tokens[0].text.clear(); }), "empty");
  expect_contains(refusal([](auto& d) { d.added_tokens[0].text.resize(1); }), "users type");
  expect_contains(refusal([](auto& d) { d.eos_token_ids = {-2}; }), "-2");
  expect_contains(refusal([](auto& d) {
                    d.add_bos = true;
                    d.bos_token_id.reset();
                  }),
                  "names none");
}

// Runs `work` on a thread whose stack is too small for recursion over the text.
void run_on_small_stack(const std::function<void()>& work) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 128 << 10), 0);
  pthread_t thread;
  const auto start = [](void* work_pointer) -> void* {
    (*static_cast<const std::function<void()>*>(work_pointer))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, start,
                           const_cast<void*>(static_cast<const void*>(&work))),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

// The bound is generous (a second is usual for all of them together); quadratic time would take
// hours.
TEST(Tokenizer, FourMebibytesOfAnythingNeedLittleTimeAndStack) {
  constexpr size_t kBytes = 4 << 20;
  std::vector<std::string> texts;
  for (const std::string_view unit :
       {"a", " ", "\n", "7", "!", "\xCC\x81", "<", "ab", "'s", "<|im_start|"}) {
    std::string text;
    while (text.size() < kBytes) text += unit;
    texts.push_back(std::move(text));
  }
  Random random(5);
  std::string bytes(kBytes, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  texts.push_back(std::move(bytes));
  run_on_small_stack([&] {
    for (const std::string& text : texts) {
      const auto start = std::chrono::steady_clock::now();
      const Ids ids = small_tokenizer().encode(text, SpecialTokens::kParse);
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      EXPECT_FALSE(ids.empty());
      EXPECT_LT(time.count(), 60) << quoted(text);
    }
  });
}

}  // namespace
}  // namespace lserve
