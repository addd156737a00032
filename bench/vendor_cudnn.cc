// cuDNN: dense causal attention, through the headers of cudnn-frontend. The library is looked for
// when it is needed, so that the program starts where there is none.
#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <exception>
#include <memory>
#include <unordered_map>

#include <cudnn_frontend.h>

#include "base/strings.h"
#include "vendor_cuda.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the headers ask for it: where they look for cuDNN's functions
}

namespace lserve::bench {

namespace {

namespace fe = cudnn_frontend;

constexpr const char* kLibrary = "libcudnn.so.9";
enum TensorId : int64_t { kQ = 1, kK, kV, kOut };

Status load_cudnn() {
  if (fe::cudnn_dlhandle != nullptr) return {};
  // The runtime of the headers' version, where several can be found.
  ::setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", cat("libcudart.so.", CUDART_VERSION / 1000).c_str(),
           /*overwrite=*/0);
  fe::cudnn_dlhandle = ::dlopen(kLibrary, RTLD_NOW | RTLD_GLOBAL);
  if (fe::cudnn_dlhandle != nullptr) return {};
  return runtime_error(cat("cannot open ", kLibrary, "; LD_LIBRARY_PATH says where to look"));
}

std::string version_text() {
  const auto version = static_cast<int64_t>(fe::detail::get_backend_version());
  return cat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

// [tokens, heads, head_dim] in memory, a batch after the other; cuDNN names the axes b, h, s, d.
fe::graph::Tensor_attributes tensor(TensorId id, int64_t batch, int64_t heads, int64_t tokens,
                                    int64_t head_dim) {
  return fe::graph::Tensor_attributes()
      .set_uid(id)
      .set_dim({batch, heads, tokens, head_dim})
      .set_stride({tokens * heads * head_dim, head_dim, heads * head_dim, 1});
}

class CudnnHandle {
 public:
  Status open(cudaStream_t stream) {
    const auto created = fe::detail::create_handle(&handle_);
    if (created != CUDNN_STATUS_SUCCESS) return runtime_error("cudnnCreate failed");
    if (fe::detail::set_stream(handle_, stream) == CUDNN_STATUS_SUCCESS) return {};
    return runtime_error("cudnnSetStream failed");
  }
  ~CudnnHandle() {
    if (handle_ != nullptr) static_cast<void>(fe::detail::destroy_handle(handle_));
  }
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

Result<std::shared_ptr<fe::graph::Graph>> build_graph(const AttentionProblem& p,
                                                      cudnnHandle_t handle) {
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto q = graph->tensor(tensor(kQ, p.batch, p.num_q_heads, p.q_len, p.head_dim));
  const auto k = graph->tensor(tensor(kK, p.batch, p.num_kv_heads, p.kv_len, p.head_dim));
  const auto v = graph->tensor(tensor(kV, p.batch, p.num_kv_heads, p.kv_len, p.head_dim));
  auto options = fe::graph::SDPA_attributes()
                     .set_name("attention")
                     .set_generate_stats(false)
                     .set_attn_scale(1.0F / std::sqrt(static_cast<float>(p.head_dim)));
  if (p.q_len == p.kv_len) {
    options.set_causal_mask(true);
  } else if (p.q_len > 1) {
    options.set_causal_mask_bottom_right(true);
  }
  const auto out = graph->sdpa(q, k, v, options)[0];
  const auto layout = tensor(kOut, p.batch, p.num_q_heads, p.q_len, p.head_dim);
  out->set_output(true).set_uid(kOut).set_dim(layout.get_dim()).set_stride(layout.get_stride());
  auto built = graph->build(handle, {fe::HeurMode_t::A});
  if (!built.is_good()) return runtime_error(built.get_message());
  return graph;
}

Result<VendorTime> run(const AttentionProblem& p, int64_t repeats) {
  VendorMemory memory;
  CudnnHandle handle;
  RETURN_IF_ERROR(handle.open(memory.stream()));
  ASSIGN_OR_RETURN(const auto graph, build_graph(p, handle.get()));
  const int64_t kv_elements = p.batch * p.kv_len * p.num_kv_heads * p.head_dim;
  const int64_t q_elements = p.batch * p.q_len * p.num_q_heads * p.head_dim;
  const int64_t copies = vendor_copies(2.0 * static_cast<double>(kv_elements) * sizeof(bf16));
  ASSIGN_OR_RETURN(bf16 * q, memory.random(q_elements));
  ASSIGN_OR_RETURN(bf16 * out, memory.random(q_elements));
  ASSIGN_OR_RETURN(void* workspace, memory.bytes(static_cast<size_t>(graph->get_workspace_size())));
  std::vector<std::unordered_map<int64_t, void*>> tensors;
  for (int64_t i = 0; i < copies; ++i) {
    ASSIGN_OR_RETURN(bf16 * k, memory.random(kv_elements));
    ASSIGN_OR_RETURN(bf16 * v, memory.random(kv_elements));
    tensors.push_back({{kQ, q}, {kK, k}, {kV, v}, {kOut, out}});
  }
  std::string failed;
  const VendorTime time = time_calls(
      cat("cuDNN ", version_text(), " dense bf16"), memory.stream(), copies, repeats,
      [&](int64_t copy) {
        auto done = graph->execute(handle.get(), tensors[static_cast<size_t>(copy)], workspace);
        if (!done.is_good()) failed = done.get_message();
      });
  if (!failed.empty()) return runtime_error(failed);
  return time;
}

}  // namespace

Result<VendorTime> time_cudnn(const AttentionProblem& problem, int64_t repeats) {
  RETURN_IF_ERROR(load_cudnn());
  try {
    return run(problem, repeats);
  } catch (const std::exception& error) {
    return runtime_error(error.what());
  }
}

}  // namespace lserve::bench
