# CUDA as a language, for src/tensor/cuda and src/kernels/cuda alone.
find_program(NVCC nvcc HINTS /usr/local/cuda/bin)
if(NVCC AND NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${NVCC})
endif()
set(CMAKE_CUDA_ARCHITECTURES ${LSERVE_CUDA_ARCHITECTURES})
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 13 has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

# constexpr functions of lower floors may be called in kernels. A kernel that spills registers or
# uses local memory is an error, like a warning of the host's compiler: but not where PTX goes into
# the program, for ptxas's options go with it, and a device that is yet to come would refuse what
# its own compiler warns of. So scripts/test builds for real architectures alone.
add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>
                    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>"
                    "$<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-warn-spills,-warn-lmem-usage>")
if(LSERVE_WERROR)
  add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Werror>")
  set(with_ptx ${LSERVE_CUDA_ARCHITECTURES})
  list(FILTER with_ptx EXCLUDE REGEX "-real$")
  if(NOT with_ptx)
    add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>"
                        "$<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-Werror>")
  endif()
endif()
