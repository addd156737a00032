// The end of a process whose device has failed. No CUDA header, so that tests can call it.
#pragma once

namespace lserve::cuda {

inline constexpr int kDeviceExitCode = 5;

// Prints one line, which names the call, the file without its folders and the cause, and ends the
// process with kDeviceExitCode, at once: it asks the device for nothing and runs no destructors,
// which might wait for it.
[[noreturn]] void fatal_device_error(const char* call, const char* file, int line,
                                     const char* error);

}  // namespace lserve::cuda
