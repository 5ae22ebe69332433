# LibTorch from the PyPI wheel. find_package(Torch) would look for a CUDA toolkit even on a CPU-only
# machine, so the libraries are imported by hand.

set(_torch_root "${COHORT_DEPS_DIR}/libtorch-2.11.0")
if(NOT EXISTS "${_torch_root}/torch/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch is missing: expected ${_torch_root}/torch/lib/libtorch_cpu.so. Run scripts/setup.")
endif()

# The wheel ships an old google/protobuf beside the torch headers, which would hide Debian's. A folder
# of links to everything else is used as the include directory instead.
set(_torch_include "${CMAKE_BINARY_DIR}/libtorch-include")
file(MAKE_DIRECTORY "${_torch_include}")
file(GLOB _torch_headers RELATIVE "${_torch_root}/torch/include" "${_torch_root}/torch/include/*")
foreach(_entry IN LISTS _torch_headers)
  if(NOT _entry STREQUAL "google")
    file(CREATE_LINK "${_torch_root}/torch/include/${_entry}" "${_torch_include}/${_entry}" SYMBOLIC)
  endif()
endforeach()

add_library(cohort_torch INTERFACE)
add_library(cohort::torch ALIAS cohort_torch)
target_include_directories(cohort_torch SYSTEM INTERFACE
  "${_torch_include}" "${_torch_include}/torch/csrc/api/include")
target_compile_definitions(cohort_torch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO)
target_link_libraries(cohort_torch INTERFACE
  "${_torch_root}/torch/lib/libtorch_cpu.so" "${_torch_root}/torch/lib/libc10.so")
target_link_options(cohort_torch INTERFACE
  "LINKER:-rpath,${_torch_root}/torch/lib" "LINKER:-rpath-link,${_torch_root}/nvidia/cu13/lib"
  "LINKER:--allow-shlib-undefined")
set(COHORT_TORCH_LIB_DIR "${_torch_root}/torch/lib")

# CUDA and NCCL: the torch wheel has the libraries, scripts/setup --cuda the headers they were built with.
# Such a program links and loads without a GPU, but starts only where torch's CUDA libraries are (the
# nvidia-* wheels that torch names, or scripts/package-gpu on a machine that has them).
if(COHORT_CUDA)
  set(_cuda_root "${COHORT_DEPS_DIR}/cuda-headers-13.0/nvidia")
  set(_cudart "${_torch_root}/nvidia/cu13/lib/libcudart.so.13")
  foreach(_file IN ITEMS "${_cuda_root}/nccl/include/nccl.h" "${_cuda_root}/cu13/include/cuda_runtime.h" "${_cudart}")
    if(NOT EXISTS "${_file}")
      message(FATAL_ERROR "A CUDA file is missing: expected ${_file}. Run scripts/setup --cuda.")
    endif()
  endforeach()
  target_compile_definitions(cohort_torch INTERFACE COHORT_CUDA USE_C10D_NCCL)
  target_include_directories(cohort_torch SYSTEM INTERFACE
    "${_cuda_root}/cu13/include" "${_cuda_root}/nccl/include")
  # Registration of the CUDA kernels happens in static initialisers, so the library must be linked even
  # where no symbol of it is used. One item, so that CMake cannot take the flags from the library.
  target_link_libraries(cohort_torch INTERFACE
    "-Wl,--push-state,--no-as-needed,${_torch_root}/torch/lib/libtorch_cuda.so,--pop-state"
    "${_torch_root}/torch/lib/libc10_cuda.so" "${_cudart}")
endif()
