"""A small language model inside the stack: llama.cpp's server, which speaks OpenAI's chat completions.

The weights are those of Gemma 3 270M, as a package brings them; its licence (GEMMA_TERMS.html beside them) goes along.
"""
