# Programs that read their key only from the environment keep one token. When it
# expires, they fail with a 401 and have to be restarted. `exec` starts them
# with a fresh token, its base URL and its account ID:
#   {{call}} exec --verify --openai -- PROGRAM
# That is enough for programs that use OpenAI's Responses API with streaming.
# The programs below use Chat Completions, which the ChatGPT backend does not
# serve. For them, run the gateway of `codex-auth setup litellm`: it translates,
# and its key never expires. Replace MODEL with the name of a ChatGPT model.

# Qwen Code
export OPENAI_API_KEY=sk-local OPENAI_BASE_URL='{{url}}' OPENAI_MODEL=MODEL
# aider --model openai/MODEL
export OPENAI_API_KEY=sk-local OPENAI_API_BASE='{{url}}'
# Cline: cline auth -p openai -k sk-local -b '{{url}}' -m MODEL
# Continue (cn), in ~/.continue/config.yaml:
#   models: [{ name: ChatGPT, provider: openai, model: MODEL,
#     apiBase: "{{url}}", apiKey: sk-local }]
# llm, in extra-openai-models.yaml in the folder shown by `llm logs path`:
#   - { model_id: MODEL, model_name: MODEL, api_key_name: litellm,
#       api_base: "{{url}}" }
#   and: llm keys set litellm --value sk-local
