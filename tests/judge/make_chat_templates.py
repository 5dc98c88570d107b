"""Chat templates rendered by jinja2, for tests/engine/chat_template_test.cpp to compare with.

    make_chat_templates.py OUT.json      tests/engine/data/chat_templates.json

Needs jinja2 (made with 3.1). The environment is set up as transformers does it. The first templates are written in the
styles of widely used models; the rest try one thing each.
"""
import datetime
import json
import sys

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1718454645  # of strftime_now; only the date is used, which no time zone but the last changes

TALK = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "  What is 2 + 2?\n"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "Und in W\u00f6rtern? \u3000"},
]
PLAIN = TALK[1:]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The \"weather\" <now> \u00e9",
          "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
                         "required": ["place"]}}}]
CALLS = [
    {"role": "user", "content": "How is the weather in Ulm?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"place": "Ulm", "days": 1.0, "raw": [True, None]}}}]},
    {"role": "tool", "name": "weather", "content": "{\"c\": 21}"},
    {"role": "tool", "name": "weather", "content": "sun"},
]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image"}, {"type": "text", "text": " what is it?"}]}]

STYLES = {
    "chatml": """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "qwen2": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- else %}
        {{- 'You help.\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{{- '(' ~ ns.last_query_index ~ ')' }}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "llama2": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must take turns: user, assistant, user …') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama3": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- the system message comes out of the list #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- tool_call.name + "(" }}
        {%- for arg_name, arg_val in tool_call.arguments | items %}
            {{- arg_name + '="' ~ arg_val ~ '"' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- endif %}
        {%- endfor %}
        {{- ")<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "gemma": """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must take turns") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {{- ', "id": "x"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("unknown role " + message.role) }}
    {%- endif %}
{%- endfor %}
""",
    "phi3": """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='', n=0) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + '<|end|>'}}{%- endif %}{% set ns.n = ns.n + 1 %}{%- endfor -%}{% if ns.n > 3 %}{{ ns.n }}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|>'}}{% endif %}""",
}

# One thing each: (name, template). Rendered with TALK and a few variables.
PIECES = [
    ("trim_blocks", "a\n{% if true %}\nb\n{% endif %}\nc\n"),
    ("lstrip_blocks", "a\n  \t{% if true %}\n  b\n   {% endif %}  c\n"),
    ("lstrip_keeps_before_print", "a\n   {{ 1 }}\n"),
    ("no_lstrip_with_plus", "a\n   {%+ if true %}x{% endif +%}\n\nb"),
    ("comments", "a {# one #} b\n  {# two #}\n c {#- three -#}  d\n{#+ four +#}\ne"),
    ("line_start_after_trim", "{% if true %}\n   {% if true %}\nx{% endif %}{% endif %}"),
    ("line_start_after_minus", "{% if true -%}\n   {% if true %}\nx{% endif %}{% endif %}"),
    ("last_newline", "a\n\n"),
    ("crlf", "a\r\n{% if true %}\r\nb\rc{% endif %}\r\n"),
    ("raw", "x {% raw %} {{ a }} {% if %} {% endraw %} y\n{%- raw -%}  z  {%- endraw -%}  w"),
    ("print_values", "{{ 1 }} {{ 1.0 }} {{ 1e20 }} {{ 0.00001 }} {{ 123456789.125 }} {{ true }} {{ none }} {{ missing }} {{ 'a' }} {{ [1, 'a', none] }} {{ {'a': 'it\\'s', 'b': [true]} }}"),
    ("arithmetic", "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 * 3 + 4 - 1 }} {{ 7.5 // 2 }} {{ 7.5 % 2 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }} {{ 1 ~ 2 ~ 'x' }} {{ true + 1 }}"),
    ("precedence", "{{ 1 ~ 2 * 3 ~ 4 }} {{ not true or true }} {{ not (true and false) }} {{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' in 'cat' and 'b' not in 'cat' }} {{ not 'a' is defined }} {{ 'x' if false }} {{ 'x' if false else 'y' if true else 'z' }} {{ '-' ~ 'a' | upper ~ '-' }} {{ (1, 2) | length + 1 }} {{ -1 | abs }}"),
    ("truth", "{{ 'e' if '' else 'f' }}{{ 'e' if [] else 'f' }}{{ 'e' if {} else 'f' }}{{ 'e' if 0 else 'f' }}{{ 'e' if 0.0 else 'f' }}{{ 'e' if none else 'f' }}{{ 'e' if missing else 'f' }}{{ 'e' if ' ' else 'f' }} {{ '' or 'x' }} {{ 'a' and 'b' }} {{ missing or 5 }}"),
    ("slices", "{{ 'äbcdef'[1:3] }} {{ 'abc'[-1] }} {{ 'äbc'[::-1] }} {{ [1,2,3,4][1:] }} {{ [1,2,3,4][:-1] }} {{ [1,2,3,4][::2] }} {{ [1,2,3,4][-2:] }} {{ [1,2,3,4][3:0:-1] }} {{ [1,2,3][5:] }} {{ 'abc'[1:][:1] }} {{ [1,2,3][-10:2] }} {{ [1,2,3][10::-1] }}"),
    ("index_beyond", "[{{ [1][3] }}] [{{ messages[99] }}] [{{ 'a'[3] }}] [{{ messages[0].nothing }}] [{{ messages[0]['nothing'] }}]"),
    ("attributes", "{{ messages[0].role }} {{ messages[-1]['role'] }} {{ messages.0.content }} {{ {'items': 3}['items'] }} {{ none.x is defined }} {{ 'abc'.upper() }}"),
    ("tests", "{{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ 'a' is string }} {{ [] is sequence }} {{ {} is mapping }} {{ [] is mapping }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ none is none }} {{ missing is none }} {{ missing is defined }} {{ missing is not defined }} {{ 3 is odd }} {{ 4 is divisibleby 2 }} {{ 3 is eq 3 }} {{ 3 is gt(2) }} {{ 1 is in [1, 2] }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 1.5 is float }} {{ true is boolean }} {{ range is callable }} {{ 'ab' is lower }} {{ 1 is sameas 1 }}"),
    ("strip", "[{{ ' \u3000a \\n'.strip() }}] [{{ 'xxaxx'.strip('x') }}] [{{ ' a '.lstrip() }}] [{{ ' a '.rstrip() }}] [{{ 'äöaä'.strip('äö') }}] [{{ '  a\u2003 ' | trim }}] [{{ 'xax' | trim('x') }}]"),
    ("split", "{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c d'.split(none, 2) }} {{ 'a-b-c'.rsplit('-', 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a\\nb\\r\\nc\\n'.splitlines() }} {{ 'x</t>y</t>z'.split('</t>')[-1] }}"),
    ("text_methods", "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'aBc dEF'.title() }} {{ \"it's a-b\".title() }} {{ 'aBc'.capitalize() }} {{ 'ÄB'.lower() }} {{ 'straße'.upper() }} {{ 'äbc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abca'.rfind('a') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'ab'.replace('', '-') }} {{ ','.join(['a', 'b']) }} {{ 'banana'.count('an') }} {{ '12'.isdigit() }} {{ 'a1'.isalpha() }}"),
    ("dict_methods", "{% set d = {'b': 1, 'a': 2} %}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{{ d.keys() | list }} {{ d.values() | list }} {{ d.get('a') }} {{ d.get('x') }} {{ d.get('x', 7) }} {{ d | length }} {{ 'a' in d }} {{ d | items | map('last') | list }} {{ d | dictsort | map('first') | list }} {{ d.items is defined }} {% for k in d %}{{ k }}{% endfor %}"),
    ("filters", "{{ ['b', 'A', 'c'] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ['a', 'A', 'b'] | unique | list }} {{ [1, 2] | sum }} {{ 'abc' | first }} {{ [1, 2] | last }} {{ 'äb' | list }} {{ 'äbc' | length }} {{ [1,2] | join('-') }} {{ [1, 2] | reverse | list }} {{ 'abc' | reverse }} {{ '42' | int + 1 }} {{ 'x' | int }} {{ '2.5' | float }} {{ 'hello wORLD-x (y' | title }} {{ 'hELLO' | capitalize }} {{ none | string }} {{ missing | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ 'a-b' | replace('-', '+') }} {{ 'x' | safe }} {{ missing | length }}"),
    ("map_select", "{{ messages | map(attribute='role') | join(',') }} {{ ['a', 'b'] | map('upper') | list }} {{ [1, 0, 2] | select | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2, 3] | reject('equalto', 2) | list }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='content') | list }} {{ messages | selectattr('role', 'in', ['system']) | list | length }} {{ messages | selectattr('nothing', 'defined') | list }} {{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }} {{ messages | map(attribute='x', default='-') | join }} {{ messages | join('/', attribute='role') }}"),
    ("tojson", "{{ {'a': [1, 2.0, true, none], 'b': \"q'\\\"<>&\\n\\té\\u2028\"} | tojson }} {{ [] | tojson }} {{ {} | tojson(indent=2) }} {{ [1, {'a': []}] | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}"),
    ("indent", "{{ 'a\\n\\nb' | indent }}|{{ 'a\\nb\\n' | indent(2, true) }}|{{ 'a\\n\\nb' | indent(1, blank=true) }}|{{ 'a\\nb' | indent('> ') }}"),
    ("loop", "{% for x in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('o', 'e') }};{% endfor %}"),
    ("loop_else_filter", "{% for x in [1, 2, 3, 4] if x is even %}{{ x }}/{{ loop.length }} {% else %}none{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}{% for x in missing %}x{% else %}e{% endfor %}"),
    ("loop_control", "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %}"),
    ("loop_scope", "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}"),
    ("loop_nested", "{% for a in [1, 2] %}{% set outer = loop %}{% for b in 'xy' %}{{ outer.index }}{{ loop.index }}{{ b }} {% endfor %}{% endfor %}"),
    ("unpack", "{% for a, b in [[1, 2], (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% set p, q = 5, 6 %}{{ p }}{{ q }}"),
    ("set_block", "{% set x %}a{{ 1 }} {% endset %}[{{ x }}]{% set y | trim | upper %} b {% endset %}[{{ y }}]"),
    ("filter_block", "{% filter upper %}a{{ 'b' }}{% endfilter %}{% filter trim | upper %}  c {% endfilter %}"),
    ("macros", "{% macro m(a, b='x', c=missing) %}{{ a }}-{{ b }}-{{ c is defined }}{% endmacro %}{{ m(1) }} {{ m(1, 2) }} {{ m(b=3, a=4) }} {{ m() }}|{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(3) }}{{ m(1) | length }}"),
    ("macro_scope", "{% set g = 'G' %}{% macro m() %}{{ g }}{{ x is defined }}{% endmacro %}{% for x in [1] %}{{ m() }}{% endfor %}"),
    ("namespace", "{% set ns = namespace(a=1, b='x') %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}{% set ns.c = [1] %}{{ ns.c }}"),
    ("strings", "{{ 'a\\tb\\\\n\\'q\\'' }} {{ \"x\" 'y' }} {{ '\\u00e4\\x41' }} {{ '\u00e9\U0001f600' }} {{ '\\d' }}"),
    ("range", "{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }}"),
    ("braces", "{{ {'a': {'b': 1}} }}{{ {'a': {'b': 1}}['a']['b'] }} { {% if true %}}}{% endif %} {"),
    ("elif", "{% for x in [1, 2, 3, 4] %}{% if x == 1 %}a{% elif x == 2 %}b{% elif x == 3 %}c{% else %}d{% endif %}{% endfor %}"),
    ("date", "{{ strftime_now('%Y-%m-%d') }}"),
    ("generation", "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}-{% endif %}{% endfor %}"),
    ("compare", "{{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ [1, 2] == [1, 2] }} {{ (1, 2) == (1, 2) }} {{ {'a': 1} == {'a': 1} }} {{ none == missing }} {{ 1 != 2 }} {{ 3 >= 3 }} {{ 'a' in ['a'] }} {{ 1 in [1.0] }} {{ 'x' in missing }}"),
    ("dict_literal", "{% set d = dict(a=1, b='x') %}{{ d.a }}{{ d['b'] }}{{ {'a': 1, 'a': 2} }}"),
    ("is_not_in_if", "{% if 'x' is not string or 1 is not none and true %}y{% endif %}{{ 'a' if 1 is odd else 'b' }}"),
    # What has to fail.
    ("raises", "{{ raise_exception('no: ' + 'x') }}"),
    ("undefined_attribute", "{{ missing.x }}"),
    ("undefined_plus", "{{ 'a' + missing }}"),
    ("none_plus", "{{ 'a' + none }}"),
    ("number_plus_text", "{{ 1 + 'a' }}"),
    ("unknown_filter", "{{ 1 | nothing }}"),
    ("unknown_test", "{{ 1 is nothing }}"),
    ("unknown_tag", "{% nothing %}"),
    ("division", "{{ 1 // 0 }}"),
    ("unclosed_if", "{% if true %}a"),
    ("unclosed_print", "{{ 1"),
    ("unclosed_string", "{{ 'a }}"),
    ("extra_end", "{% endif %}"),
    ("wrong_end", "{% if true %}{% endfor %}"),
    ("lone_bracket", "{{ 1) }}"),
    ("append", "{% set x = [] %}{{ x.append(1) }}"),
    ("set_attribute", "{% set x = {} %}{% set x.a = 1 %}"),
    ("loop_over_number", "{% for x in 3 %}{% endfor %}"),
    ("call_text", "{{ 'a'() }}"),
    ("private", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
]


class Generation(jinja2.ext.Extension):
    """transformers' block of that name, which only marks."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_keep"), [], [], body).set_lineno(line)

    def _keep(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW).strftime(form)
    return env


def case(name, template, messages, add_generation_prompt=True, **variables):
    whole = {"name": name, "template": template, "messages": messages, "add_generation_prompt": add_generation_prompt,
             "variables": variables, "now": NOW}
    given = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"} | variables
    try:
        whole["expected"] = environment().from_string(template).render(
            messages=messages, add_generation_prompt=add_generation_prompt, **given)
    except Exception as error:  # whatever it is, the interpreter must refuse, too
        whole["error"] = type(error).__name__
    return whole


def main():
    cases = []
    for style, template in STYLES.items():
        for what, messages in {"talk": TALK, "plain": PLAIN, "two_users": PLAIN[:1] * 2, "parts": PARTS}.items():
            cases.append(case(f"{style}/{what}", template, messages))
        cases.append(case(f"{style}/no_prompt", template, PLAIN[:2], False))
        cases.append(case(f"{style}/tools", template, CALLS, tools=TOOLS))
    cases += [case(name, template, TALK) for name, template in PIECES]
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(cases, out, ensure_ascii=False, indent=1)
        out.write("\n")
    print(len(cases), "cases,", sum("error" in c for c in cases), "of them errors:",
          ", ".join(c["name"] + " " + c["error"] for c in cases if "error" in c))


if __name__ == "__main__":
    main()
